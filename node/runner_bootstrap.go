package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/confman/confman/fsm"
)

// bootstrap has the cluster's first administrator bound, as the configuration of a node wants it,
// and ends when somebody administers the cluster. Members that are told of different subjects
// race: the first to be applied wins, and the others say what they found.
type bootstrap struct {
	node interface {
		Linearize(ctx context.Context) error
		View() (*fsm.View, Freshness, error)
		Propose(ctx context.Context, cmd *fsm.Command) (fsm.Result, error)
	}
	name    string // of the node
	subject string
	stop    <-chan struct{}
	now     func() time.Time
	log     *slog.Logger

	proposed bool // an attempt may have been the one that was applied
	said     bool // that it does not work
}

// run tries until it is done or the node is to stop.
func (b *bootstrap) run() {
	pause := minBootstrapPause
	for {
		done, err := b.attempt()
		switch {
		case done, errors.Is(err, ErrStopped):
			return
		case errors.Is(err, ErrForming):
			// There may be long to wait, and then nothing to wait for.
		default:
			pause = min(2*pause, maxBootstrapPause)
		}
		select {
		case <-time.After(pause):
		case <-b.stop:
			return
		}
	}
}

// attempt looks, and proposes if nobody administers the cluster.
func (b *bootstrap) attempt() (done bool, err error) {
	// Bounded though nothing here ends it: a node that stops answers everything.
	ctx, cancel := context.WithTimeout(context.Background(), bootstrapWait)
	defer cancel()
	for {
		if err = b.node.Linearize(ctx); err != nil {
			return false, err
		}
		v, _, err := b.node.View()
		if err != nil {
			return false, err
		}
		policy := v.Policy()
		v.Close()
		if policy.Required() {
			b.tell(policy)
			return true, nil
		}
		b.proposed = true
		res, err := b.node.Propose(ctx, &fsm.Command{
			AcceptedAt: b.now().UnixNano(),
			Comment:    "Auth.Bootstrap in the configuration of node " + b.name,
			Ops:        []fsm.Op{{Kind: fsm.Bootstrap, Value: []byte(b.subject)}},
		})
		if err != nil {
			return false, err
		}
		if res.Outcome != fsm.Applied && res.Outcome != fsm.AdminExists {
			b.refused(res.Outcome)
			return false, nil
		}
		// What there is now, whoever it is from, the next look shows.
	}
}

// tell says who administers the cluster, which is not for the node to change any more.
func (b *bootstrap) tell(p *fsm.Policy) {
	admins := adminsOf(p)
	said := []any{slog.String("subject", b.subject), slog.Any("administrators", admins[:min(len(admins), maxBootstrapSaid)])}
	switch {
	case !slices.Contains(admins, b.subject):
		b.log.Warn("Auth.Bootstrap names somebody who does not administer the cluster: others do, and it has no effect; if that is as it should be, take it out", said...)
	case b.proposed:
		b.log.Info("Auth.Bootstrap: the cluster has its first administrator", said...)
	default:
		b.log.Info("Auth.Bootstrap has no effect: the cluster has its administrator", said...)
	}
}

func (b *bootstrap) refused(o fsm.Outcome) {
	if !b.said {
		b.said = true
		b.log.Error("Auth.Bootstrap: the first administrator cannot be bound", slog.String("subject", b.subject), slog.String("outcome", o.String()))
	}
}

// adminsOf are the subjects that are bound to RoleAdmin at the root.
func adminsOf(p *fsm.Policy) []string {
	root, found := p.Namespace("")
	if !found {
		return nil
	}
	for _, b := range root.Bindings {
		if b.Role == fsm.RoleAdmin {
			return b.Subjects
		}
	}
	return nil
}
