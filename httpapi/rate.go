package httpapi

import (
	"container/list"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/confman/confman/fsm"
)

// Rates are how often one caller may ask this node for something. Another node counts for itself.
type Rates struct {
	// Requests are all that a caller must be known for, Writes those among them that may change
	// something.
	Requests, Writes Rate
}

// Rate is how often something may be done; the zero value: as often as anybody likes.
type Rate struct {
	PerSecond float64
	// Burst is how often it may be done at once, after a silence (default: what a second allows).
	Burst int
}

func (r Rate) limited() bool { return r.PerSecond > 0 }

func (r Rate) burst() int {
	if r.Burst > 0 {
		return r.Burst
	}
	return int(math.Ceil(r.PerSecond))
}

// validate reports everything wrong with r.
func (r Rates) validate() error {
	var errs []error
	for _, one := range []struct {
		name string
		Rate
	}{{"Requests", r.Requests}, {"Writes", r.Writes}} {
		if one.PerSecond != 0 && !(one.PerSecond >= minRate && one.PerSecond <= MaxRate) {
			errs = append(errs, fmt.Errorf("httpapi: Rates.%s: %v per second, want %v to %d, or 0 for no limit", one.name, one.PerSecond, minRate, MaxRate))
		}
		if one.Burst < 0 || one.Burst > MaxRate || one.Burst > 0 && !one.limited() {
			errs = append(errs, fmt.Errorf("httpapi: Rates.%s: a burst of %d at %v per second", one.name, one.Burst, one.PerSecond))
		}
	}
	return errors.Join(errs...)
}

// rateKey is who is counted: a caller who is known, or the network of one who is not.
type rateKey struct {
	callerKey
	from netip.Prefix
}

// buckets are what a caller may still do.
type buckets struct {
	who              rateKey
	requests, writes *rate.Limiter
}

// rates holds callers to Rates. It knows the MaxRatedCallers that came last: who is forgotten may
// do a burst again. Safe for concurrent use.
type rates struct {
	Rates
	mu     sync.Mutex
	known  map[rateKey]*list.Element
	recent list.List // of *buckets, the newest first
}

func (r *rates) off() bool { return !r.Requests.limited() && !r.Writes.limited() }

// take counts a request of who, unless that must wait: then it says for how long.
func (r *rates) take(who rateKey, write bool, now time.Time) (wait time.Duration, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bucketsOf(who)
	if wait = takeOne(b.requests, now); wait > 0 {
		return wait, fmt.Sprintf("%v requests a second", r.Requests.PerSecond)
	}
	if write {
		if wait = takeOne(b.writes, now); wait > 0 {
			return wait, fmt.Sprintf("%v writes a second", r.Writes.PerSecond)
		}
	}
	return 0, ""
}

func (r *rates) bucketsOf(who rateKey) *buckets {
	if e := r.known[who]; e != nil {
		r.recent.MoveToFront(e)
		return e.Value.(*buckets)
	}
	if r.known == nil {
		r.known = make(map[rateKey]*list.Element)
	}
	if len(r.known) >= MaxRatedCallers {
		oldest := r.recent.Back()
		delete(r.known, r.recent.Remove(oldest).(*buckets).who)
	}
	b := &buckets{who: who, requests: r.Requests.limiter(), writes: r.Writes.limiter()}
	r.known[who] = r.recent.PushFront(b)
	return b
}

// limiter holds to r; nil: there is nothing to hold to.
func (r Rate) limiter() *rate.Limiter {
	if !r.limited() {
		return nil
	}
	return rate.NewLimiter(rate.Limit(r.PerSecond), r.burst())
}

// takeOne takes a token, or says after which time there is one.
func takeOne(l *rate.Limiter, now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	one := l.ReserveN(now, 1)
	wait := one.DelayFrom(now)
	if wait > 0 {
		one.CancelAt(now)
	}
	return wait
}

// inRate refuses a request of a caller who makes too many.
func (c *call) inRate() error {
	r := &c.api.rates
	if r.off() {
		return nil
	}
	key, name := rateKey{}, ""
	if c.who.identity != nil {
		key.callerKey, name = keyOf(&c.who.principal), c.who.principal.String()
	} else {
		key.from = network(c.source())
		name = key.from.String()
	}
	wait, what := r.take(key, isWrite(c.r.Method), c.api.Now())
	if wait == 0 {
		return nil
	}
	p := problemf(kindRateLimited, "this node takes %s of one caller, and %s has made more", what, name)
	p.after = wait
	return p
}

// network is what one who is not known cannot choose another address in at will: of IPv6, everybody
// has a /64.
func network(from netip.Addr) netip.Prefix {
	bits := from.BitLen()
	if from.Is6() {
		bits = 64
	}
	p, _ := from.Prefix(bits) // fails for no address at all, whose prefix is the zero one
	return p
}

// callerKey tells callers apart, with whatever token they call.
type callerKey struct {
	kind                        fsm.PrincipalKind
	issuer, tenant, object, app string
}

func keyOf(who *fsm.Principal) callerKey {
	key := callerKey{kind: who.Kind, issuer: who.Issuer, tenant: who.Tenant, object: who.Object}
	if who.Kind == fsm.ServicePrincipal {
		key.object, key.app = "", who.App
	}
	return key
}
