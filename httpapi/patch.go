package httpapi

import (
	"context"
	"errors"
	"mime"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/confman/confman/fsm"
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
	for range MaxPatchAttempts {
		rec, err := c.patched(key, cond)
		if err != nil {
			return err
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
		c.writtenValue(key, rec.ContentType, res)
		return nil
	}
	return problemf(kindContended, "key %q was changed by others %d times while the patch was evaluated", key, MaxPatchAttempts)
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
		return nil, problemf(kindInvalidBody, "the body is no JSON Patch: %v", err)
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
func (c *call) patched(key string, cond condition) (fsm.Record, error) {
	var (
		rec   fsm.Record
		found bool
	)
	st, err := c.read(freshness{consistency: linearizable}, func(v *fsm.View) error {
		var err error
		rec, found, err = v.Get(key)
		return err
	})
	switch {
	case err != nil:
		return rec, err
	case !found && cond.kind != 0:
		return rec, &readError{st, compareFailed(key, 0)}
	case !found:
		return rec, &readError{st, problemf(kindNotFound, "key %q has no value", key)}
	case cond.kind == fsm.RevisionIs && cond.revision != rec.Revision:
		return rec, &readError{st, compareFailed(key, rec.Revision)}
	case !isJSONType(rec.ContentType):
		return rec, &readError{st, problemf(kindPatchConflict, "key %q holds %s, and only JSON can be patched", key, quote(rec.ContentType))}
	}
	return rec, nil
}
