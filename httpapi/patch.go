package httpapi

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// The kinds of patch that are taken, as Accept-Patch names them (RFC 5789 §3.1).
const (
	typeJSONPatch  = "application/json-patch+json"  // RFC 6902
	typeMergePatch = "application/merge-patch+json" // RFC 7396
)

// patcher makes a new value of the old one.
type patcher func(old []byte) ([]byte, error)

// patch answers PATCH of /config: the key's JSON value is changed in part. The patch is
// evaluated here, and written on the condition that the value is still what it was
// evaluated on; if it is not, the patch is evaluated again.
func (c *call) patch() error {
	key, cond, cmd, err := c.keyWrite()
	if err != nil {
		return err
	}
	if cond.kind == fsm.KeyAbsent {
		return invalidCondition("If-None-Match: * asks for a key without a value, which there is nothing of to patch")
	}
	c.need(fsm.VerbRead|fsm.VerbWrite, key)
	limit := int64(c.api.MaxValueBytes)
	b := c.body(limit)
	defer b.release()
	text, err := b.all(limit)
	if err != nil {
		return err
	}
	header, _ := single(c.r.Header["Content-Type"])
	apply, err := c.patcher(header, text)
	if err != nil {
		return err
	}
	// All attempts together have the time of one write, so that the answer is not too late.
	ctx, cancel := context.WithTimeout(c.r.Context(), WriteWait)
	defer cancel()
	c.r = c.r.WithContext(ctx)
	c.once(cmd, text)
	cmd.Idempotency.OnlyIfDone = cmd.Idempotency.Key != ""
	c.again = cmd
	for range MaxPatchAttempts {
		rec, first, err := c.patched(key, cond, cmd)
		if err != nil {
			return err
		}
		if first != nil {
			return c.patchedBefore(key, first)
		}
		value, err := apply(rec.Value)
		if err != nil {
			return err
		}
		if int64(len(value)) > limit {
			return problemf(kindTooLarge, "the patched value has %d bytes, at most %d are allowed", len(value), limit).with("limit", limit)
		}
		cmd.Compares = []fsm.Compare{{Kind: fsm.RevisionIs, Key: key, Revision: rec.Revision}}
		cmd.Ops = []fsm.Op{{Kind: fsm.Put, Key: key, Value: value, ContentType: rec.ContentType}}
		c.proposed = true
		res, err := c.write(cmd)
		if again := compareFailedOf(err) && cond.kind != fsm.RevisionIs; again {
			c.proposed = false // it is known to have done nothing
			continue
		}
		if err != nil {
			return err
		}
		if res.Replayed {
			return c.patchedBefore(key, &res)
		}
		c.writtenValue(key, rec.ContentType, res)
		return nil
	}
	return problemf(kindContended, "key %q was changed by others %d times while the patch was evaluated", key, MaxPatchAttempts)
}

// patchedBefore gives the answer of a patch that was done before, res. Its content type is that
// of the record it left; if that is compacted, because others have changed the key more often
// since than versions are kept, the answer goes without.
func (c *call) patchedBefore(key string, res *fsm.Result) error {
	if len(res.Ops) != 1 {
		p := internal(fmt.Errorf("httpapi: %d results of a patch", len(res.Ops)))
		p.outcome = node.Unknown
		return p
	}
	contentType := ""
	err := c.afterwards(res.Revision, func(v *fsm.View) error {
		rec, _, err := v.Get(key)
		contentType = rec.ContentType
		return err
	})
	if err != nil && !isCompacted(err) {
		return err
	}
	c.replayed(res)
	c.writtenValue(key, contentType, *res)
	return nil
}

// compareFailedOf tells whether a write failed for nothing but its condition.
func compareFailedOf(err error) bool {
	var p *problem
	return errors.As(err, &p) && p.name == kindCompareFailed.name
}

// patcher reads a patch of the type that the header names.
func (c *call) patcher(header string, text []byte) (patcher, error) {
	essence, _, err := mime.ParseMediaType(header)
	if err != nil || essence != typeJSONPatch && essence != typeMergePatch {
		c.w.Header()["Accept-Patch"] = []string{typeJSONPatch + ", " + typeMergePatch}
		return nil, problemf(kindUnsupportedMedia, "Content-Type is %s, want %s or %s", quote(header), typeJSONPatch, typeMergePatch)
	}
	if err := checkJSON(text); err != nil {
		return nil, err.problem(text, "")
	}
	if essence == typeMergePatch {
		if !isObject(text) { // RFC 7396 §2: it takes the value's place
			return func([]byte) ([]byte, error) { return text, nil }, nil
		}
		return func(old []byte) ([]byte, error) {
			if !isObject(old) {
				old = []byte("{}")
			}
			value, err := jsonpatch.MergePatch(old, text)
			if err != nil {
				return nil, problemf(kindPatchConflict, "the patch cannot be merged: %v", err)
			}
			return value, nil
		}, nil
	}
	p, err := jsonpatch.DecodePatch(text)
	if err != nil {
		reason := err.Error()
		if strings.HasPrefix(reason, "json:") { // it would name types of Go
			reason = "it is not an array of operations, which are objects"
		}
		return nil, problemf(kindInvalidBody, "the body is no JSON Patch: %s", reason)
	}
	if len(p) > MaxPatchOps {
		return nil, problemf(kindTooLarge, "the patch has %d operations, at most %d are allowed", len(p), MaxPatchOps).with("limit", MaxPatchOps)
	}
	options := jsonpatch.NewApplyOptions()
	options.AccumulatedCopySizeLimit = int64(c.api.MaxValueBytes)
	options.SupportNegativeIndices = false // RFC 6901 knows none
	options.EscapeHTML = false
	return func(old []byte) ([]byte, error) {
		value, err := p.ApplyWithOptions(old, options)
		if err != nil {
			reason := err.Error()
			if strings.HasPrefix(reason, "json:") { // it would name types of Go
				reason = "what it names a member or an element of has none"
			}
			return nil, problemf(kindPatchConflict, "the patch does not fit the value: %s", reason)
		}
		return value, nil
	}, nil
}

// patched reads what a patch is for: nobody may have written something newer that was
// acknowledged before.
//
// Or first is what became of the patch when it was made before, under the same Idempotency-Key.
// Where commands are applied that would be found too, but a patch does not get there by itself:
// it is evaluated here first, on a value that has its own effect, which it need not fit any
// more (a "test" of what it changed), nor has its key to be there still. So this read, which
// holds all that was acknowledged, looks first. An attempt that is still in flight is not in
// it; then both compare with the same revision, and the one that comes second is found where it
// is applied to have been done already. What compares in vain is not remembered (OnlyIfDone),
// or the attempts after it would have its answer.
func (c *call) patched(key string, cond condition, cmd *fsm.Command) (rec fsm.Record, first *fsm.Result, err error) {
	found := false
	st, err := c.read(freshness{consistency: linearizable}, func(v *fsm.View) error {
		var err error
		if cmd.Idempotency.Key != "" {
			res, known, err := v.Answer(&cmd.Principal, &cmd.Idempotency)
			if err != nil {
				return err
			}
			if known {
				first = &res
				return nil
			}
		}
		rec, found, err = v.Get(key)
		return err
	})
	switch {
	case err != nil:
		return rec, nil, err
	case first != nil && first.Outcome == fsm.KeyReused:
		return rec, nil, &readError{st, keyReused(cmd)}
	case first != nil:
		return rec, first, nil
	case !found && cond.kind != 0:
		return rec, nil, &readError{st, compareFailed(key, 0)}
	case !found:
		return rec, nil, &readError{st, problemf(kindNotFound, "key %q has no value", key)}
	case cond.kind == fsm.RevisionIs && cond.revision != rec.Revision:
		return rec, nil, &readError{st, compareFailed(key, rec.Revision)}
	case !isJSONType(rec.ContentType):
		return rec, nil, &readError{st, problemf(kindPatchConflict, "key %q holds %s, and only JSON can be patched", key, quote(rec.ContentType))}
	}
	return rec, nil, nil
}
