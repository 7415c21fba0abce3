package auth

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// keySet is the keys of one issuer: fetched on a timer by run, and when a token
// names one that is not there, but then not more often than minRefresh.
type keySet struct {
	trust  trust // its url or that of the same tenant's other version
	client *http.Client
	log    *slog.Logger
	now    func() time.Time
	// waiting has a place for each token that waits for keys, of this set or another.
	waiting chan struct{}

	refreshEvery, minRefresh, maxAge time.Duration

	current atomic.Pointer[keys] // nil: never fetched

	mu     sync.Mutex
	flight *flight   // the fetch under way
	tried  time.Time // when the last one began; zero: there was none
	failed error     // what became of the last that ended

	// Only the fetch under way uses these.
	address    string // of the keys; empty: to be discovered
	discovered time.Time
}

// keys is what one fetch brought; it does not change.
type keys struct {
	list    []*key
	held    map[thumbprint]bool
	fetched time.Time // when its fetch began
}

// flight is one fetch that any number wait for.
type flight struct {
	done chan struct{}
	err  error // once done
}

func newKeySet(t trust, cfg Config, client *http.Client, waiting chan struct{}, log *slog.Logger) *keySet {
	if t.tenant != "" {
		log = log.With(slog.String("tenant", t.tenant))
	}
	return &keySet{
		trust: t, client: client, log: log, now: cfg.Now, waiting: waiting,
		refreshEvery: cfg.Refresh, minRefresh: cfg.MinRefresh, maxAge: cfg.MaxKeyAge,
	}
}

// fresh is the current keys if they are not too old to be used; else nil.
func (s *keySet) fresh(now time.Time) *keys {
	if k := s.current.Load(); k != nil && now.Sub(k.fetched) < s.maxAge {
		return k
	}
	return nil
}

// holds tells whether the key is still among the issuer's.
func (s *keySet) holds(key thumbprint, now time.Time) bool {
	k := s.fresh(now)
	return k != nil && k.held[key]
}

// named are the keys named kid, and those of them that fit alg. A token without kid is taken
// if there is only one key that it can mean.
func (k *keys) named(kid, alg string) (named, fit []*key) {
	for _, key := range k.list {
		if kid != "" && key.id != kid {
			continue
		}
		named = append(named, key)
		if slices.Contains(key.algorithms, alg) {
			fit = append(fit, key)
		}
	}
	if kid == "" && len(fit) > 1 {
		fit = nil
	}
	return named, fit
}

// find is the keys that may have signed a token with this header; they are fetched if they
// are not there and it is time.
func (s *keySet) find(ctx context.Context, kid, alg string) ([]*key, error) {
	k := s.fresh(s.now())
	var failed error
	if k == nil || !k.answers(kid, alg) {
		failed = s.demand(ctx)
		k = s.fresh(s.now())
	}
	if k == nil {
		return nil, &Error{Reason: KeysUnavailable, Detail: "the keys of the token's issuer cannot be fetched now: try again later", Err: failed}
	}
	switch named, fit := k.named(kid, alg); {
	case len(fit) > 0:
		return fit, nil
	case kid == "":
		return nil, refuse(UnknownKey, "the token does not name its key (kid), and its issuer has more than one, or none")
	case len(named) > 0:
		return nil, refuse(Algorithm, "the key that the token names is not one for %q", alg)
	case failed != nil:
		return nil, &Error{Reason: KeysUnavailable, Detail: "the token names a key that is not known, and the issuer cannot be asked now: try again later", Err: failed}
	}
	return nil, refuse(UnknownKey, "the token names a key that its issuer does not have; if the key is new, try again in %v", s.minRefresh)
}

// answers tells that there is no use in asking the issuer about such a token.
func (k *keys) answers(kid, alg string) bool {
	named, fit := k.named(kid, alg)
	return kid == "" || len(fit) > 0 || len(named) > 0
}

var errCrowd = fmt.Errorf("%d tokens wait for keys already", maxWaiting)

// demand fetches the keys because a token needs them, or waits for the fetch under way, unless
// too many do; if the last one was less than minRefresh ago, its error is the answer.
func (s *keySet) demand(ctx context.Context) error {
	s.mu.Lock()
	f := s.flight
	if f == nil {
		if !s.tried.IsZero() && s.now().Sub(s.tried) < s.minRefresh {
			defer s.mu.Unlock()
			return s.failed
		}
		f = s.begin()
	}
	s.mu.Unlock()
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
		return f.wait(ctx)
	default:
		return errCrowd
	}
}

// refresh fetches the keys because it is time.
func (s *keySet) refresh(ctx context.Context) error {
	s.mu.Lock()
	f := s.flight
	if f == nil {
		f = s.begin()
	}
	s.mu.Unlock()
	return f.wait(ctx)
}

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin starts a fetch, with s.mu held. It is nobody's in particular: when the request that
// caused it goes away, the others still wait.
func (s *keySet) begin() *flight {
	f := &flight{done: make(chan struct{})}
	s.flight, s.tried = f, s.now()
	began := s.tried
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		f.err = s.fetch(ctx, began)
		s.mu.Lock()
		s.flight, s.failed = nil, f.err
		s.mu.Unlock()
		close(f.done)
	}()
	return f
}

// fetch replaces the current keys.
func (s *keySet) fetch(ctx context.Context, began time.Time) error {
	if s.address == "" || began.Sub(s.discovered) >= discoveryAge {
		// Half of the time: where the keys were is the better part if both cannot be had.
		half, cancel := context.WithTimeout(ctx, fetchTimeout/2)
		address, err := discover(half, s.client, s.trust.discovery)
		cancel()
		switch {
		case err == nil:
			s.address, s.discovered = address, began
		case s.address == "":
			return s.down(fmt.Errorf("discovery: %w", brief(err)))
		}
		// Else the keys are probably still where they were.
	}
	list, unfit, err := fetchKeys(ctx, s.client, s.address, s.trust)
	if err != nil {
		s.discovered = time.Time{} // they may have moved
		return s.down(fmt.Errorf("keys: %w", brief(err)))
	}
	next := &keys{list: list, held: make(map[thumbprint]bool, len(list)), fetched: began}
	for _, key := range list {
		next.held[key.thumbprint] = true
	}
	last := s.current.Swap(next)
	if last == nil || !sameKeys(last, next) {
		var why []string
		for _, err := range unfit {
			why = append(why, brief(err).Error())
		}
		s.log.Info("the issuer has new keys", slog.Int("keys", len(list)), slog.String("not_used", strings.Join(why, "; ")))
	}
	return nil
}

func sameKeys(a, b *keys) bool {
	if len(a.held) != len(b.held) {
		return false
	}
	for key := range a.held {
		if !b.held[key] {
			return false
		}
	}
	return true
}

func (s *keySet) down(err error) error {
	var until time.Time
	if k := s.current.Load(); k != nil {
		until = k.fetched.Add(s.maxAge)
	}
	s.log.Warn("an issuer's keys cannot be fetched", slog.Any("error", err), slog.Time("known_ones_good_until", until))
	return err
}

// run fetches at once and then every refreshEvery; an issuer that is down is asked again
// sooner, and sooner still if it never answered.
func (s *keySet) run(ctx context.Context) {
	retry := time.Duration(0)
	for ctx.Err() == nil {
		began, wait := time.Now(), s.refreshEvery
		if s.refresh(ctx) == nil {
			wait = max(0, wait-time.Since(began)) // what was withdrawn meanwhile is not kept longer
			retry = 0
		} else {
			least, most := s.minRefresh, s.refreshEvery
			if s.current.Load() == nil {
				least, most = firstRetry, s.minRefresh
			}
			retry = min(max(2*retry, least), most)
			wait = retry
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}
