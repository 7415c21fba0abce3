package fsm

import (
	"cmp"
	"slices"

	"go.etcd.io/bbolt"
)

// rangeTally is what the records of one range of a bucket's keys add up to: those
// from start to the next range's start. The first starts at "", so every key is
// in one. They are kept beside the records, so that the scrub can check a part of
// the database at a time, each part within one transaction. How keys are cut into
// ranges depends on when a node flushes; the sum over all of them does not.
type rangeTally struct {
	start string
	tally tally
}

// rangeKey is where bucket ranges keeps a range of bucket in.
func rangeKey(in bucket, start string) string { return string([]byte{byte(in)}) + start }

// putRange writes r. The value is the checksum and the tally.
func putRange(tx *bbolt.Tx, in bucket, r *rangeTally) error {
	key := rangeKey(in, r.start)
	v := r.tally.append(make([]byte, checksumBytes, checksumBytes+tallyBytes))
	seal(ranges, key, v)
	return tx.Bucket([]byte(ranges.String())).Put([]byte(key), v)
}

// deleteRange removes the tally of a range that was joined with the one before.
func deleteRange(tx *bbolt.Tx, in bucket, start string) error {
	return tx.Bucket([]byte(ranges.String())).Delete([]byte(rangeKey(in, start)))
}

// findRange returns the position of the range that holds key.
func findRange(rs []rangeTally, key string) int {
	i, exact := slices.BinarySearchFunc(rs, key, func(r rangeTally, key string) int {
		return cmp.Compare(r.start, key)
	})
	if !exact {
		i--
	}
	return i
}

// tallies reads the ranges of all record buckets and checks that they add up to
// what the state says.
func (b *base) tallies(l *logical) (map[bucket][]rangeTally, error) {
	all := make(map[bucket][]rangeTally, len(records))
	t, err := b.pages.openTree(ranges)
	if err != nil {
		return nil, err
	}
	c := cursor{t: &t, strict: true}
	for ok, err := c.seek(nil); ; ok, err = c.next() {
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		key := string(c.key)
		v, err := unseal(ranges, key, c.val)
		if err != nil {
			return nil, err
		}
		in := bucket(key[0])
		if len(v) != tallyBytes || !in.hasTally() {
			return nil, damaged("range %q: %d bytes are no tally", key, len(v))
		}
		all[in] = append(all[in], rangeTally{start: key[1:], tally: decodeTally(v)})
	}
	for _, in := range records {
		if err := addsUp(in, all[in], *l.tally(in)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// addsUp checks that rs cover all keys and add up to want.
func addsUp(in bucket, rs []rangeTally, want tally) error {
	if len(rs) == 0 || rs[0].start != "" {
		return damaged("bucket %s: its first range is missing", in)
	}
	var total tally
	for i := range rs {
		total.add(rs[i].tally)
	}
	if total != want {
		return damaged("bucket %s: %d ranges add up to %d records, the state has %d, or their hashes differ",
			in, len(rs), total.count, want.count)
	}
	return nil
}

// resizeRanges writes those of rs that were touched, cut if they grew too large, and joined with
// the one before if both became small: what goes leaves no ranges behind, of which each flush
// and each step of the scrub reads all. It returns the ranges there are now.
func resizeRanges(tx *bbolt.Tx, in bucket, rs []rangeTally, touched []bool) ([]rangeTally, error) {
	out := make([]rangeTally, 0, len(rs)+1)
	changed := make([]bool, 0, len(rs)+1) // of out
	for i := range rs {
		r := &rs[i]
		if touched[i] && (r.tally.count > rangeRecords || r.tally.bytes > rangeBytes) {
			end := ""
			if i+1 < len(rs) {
				end = rs[i+1].start
			}
			parts, err := cutRange(tx, in, r, end)
			if err != nil {
				return nil, err
			}
			for j := range parts {
				out, changed = append(out, parts[j]), append(changed, true)
			}
			continue
		}
		if last := len(out) - 1; last >= 0 && (touched[i] || changed[last]) && out[last].joins(r) {
			if err := deleteRange(tx, in, r.start); err != nil {
				return nil, err
			}
			out[last].tally.add(r.tally)
			changed[last] = true
			continue
		}
		out, changed = append(out, *r), append(changed, touched[i])
	}
	for i := range out {
		if !changed[i] {
			continue
		}
		if err := putRange(tx, in, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// joins tells whether r and the next range are small enough to be one, far from being cut
// again, or one of them is empty.
func (r *rangeTally) joins(next *rangeTally) bool {
	count, size := r.tally.count+next.tally.count, r.tally.bytes+next.tally.bytes
	return r.tally.count == 0 || next.tally.count == 0 || count <= rangeRecords/2 && size <= rangeBytes/2
}

// cutRange returns the ranges that r, grown too large, is cut into, from its
// records in tx.
func cutRange(tx *bbolt.Tx, in bucket, r *rangeTally, end string) ([]rangeTally, error) {
	c := tx.Bucket([]byte(in.String())).Cursor()
	var out []rangeTally
	part := rangeTally{start: r.start}
	var scratch []byte
	for k, v := c.Seek([]byte(r.start)); k != nil && (end == "" || string(k) < end); k, v = c.Next() {
		key := string(k)
		if _, err := unseal(in, key, v); err != nil {
			return nil, err
		}
		if part.tally.count >= rangeRecords/2 || part.tally.bytes >= rangeBytes/2 {
			out = append(out, part)
			part = rangeTally{start: key}
		}
		part.tally.add(recordTally(&scratch, in, key, v))
	}
	out = append(out, part)
	var total tally
	for i := range out {
		total.add(out[i].tally)
	}
	if total != r.tally {
		return nil, damaged("bucket %s: the records from %q do not add up to their tally", in, r.start)
	}
	return out, nil
}
