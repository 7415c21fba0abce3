package jepsen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// What a data directory holds, as package node and package wal have it.
const (
	dataLog      = "log"       // the directory of segments
	dataSegments = "wal-*.log" // their names are in the order in which they were made
	dataStore    = "store.db"  // the database
	segmentBegin = 96          // what comes before the first record of a segment
	segmentPrev  = 40          // where its header says where the segment before it ends
	leastProven  = 4 << 10     // bytes of an open segment that are worth to be damaged
	manyTries    = 10_000      // at finding a place that holds something
	storePage    = 512         // bytes that count as a place of the database
	storeHeader  = 4 * 4096    // its first pages are written again and again: damage there is undone

	// In the database a record follows its key: a checksum, and what package fsm calls its body.
	recordType  = 8 + 32 // where the length of its content type is, one byte, and that of who made it, two bytes
	recordTexts = 8 + 35 // where these two are; the value comes after them
)

// harm does it to the data directory dir of a node that does not run. It says what it did.
func harm(dir string, d Damage) (string, error) {
	rng := rand.New(rand.NewPCG(d.Seed, 0))
	switch d.Kind {
	case FlipLog, TruncateLog:
		path, end, text, err := proven(filepath.Join(dir, dataLog), rng)
		if err != nil {
			return "", err
		}
		at := segmentBegin + rng.Int64N(end-segmentBegin)
		if d.Kind == FlipLog {
			return flip(path, at, rng, text)
		}
		if err := os.Truncate(path, at); err != nil {
			return "", err
		}
		return fmt.Sprintf("cut %s off at %d of %d bytes (%s)", filepath.Base(path), at, end, text), nil
	case FlipDatabase:
		path := filepath.Join(dir, dataStore)
		at, err := usedPlace(path, rng)
		if err != nil {
			return "", err
		}
		return flip(path, at, rng, "the database")
	case FlipRecord:
		return flipRecord(filepath.Join(dir, dataStore), d, rng)
	case TruncateDatabase:
		return truncateDatabase(filepath.Join(dir, dataStore), rng)
	case LoseDatabase:
		return "removed " + dataStore, os.Remove(filepath.Join(dir, dataStore))
	case LoseDirectory:
		return "removed all that was in the data directory", emptyDir(dir)
	default:
		return "", fmt.Errorf("there is no damage %q", d.Kind)
	}
}

// closed is what harm says of a segment that is.
const closed = "a closed segment"

// proven draws a segment of the log, and finds out up to where later records say that it is durable: a closed one up to its end; if there
// is none, the first half of what is in the open one.
func proven(dir string, rng *rand.Rand) (path string, end int64, text string, err error) {
	all, err := filepath.Glob(filepath.Join(dir, dataSegments)) // in order
	if err != nil {
		return "", 0, "", err
	}
	if len(all) == 0 {
		return "", 0, "", errors.New("there is no log yet")
	}
	if len(all) > 1 {
		i := rng.IntN(len(all) - 1)
		end, err = prevEnd(all[i+1])
		return all[i], end, closed, err
	}
	b, err := os.ReadFile(all[0])
	if err != nil {
		return "", 0, "", err
	}
	used := len(b)
	for used > 0 && b[used-1] == 0 {
		used--
	}
	if used < leastProven {
		return "", 0, "", fmt.Errorf("the log has %d bytes: too few of them are certainly synced", used)
	}
	return all[0], int64(used / 2), "the first half of the open segment; none is closed yet", nil
}

// prevEnd is where the segment before the one of that path ends.
func prevEnd(path string) (int64, error) {
	f, err := os.Open(path) //nolint:gosec // the harness's own
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var b [8]byte
	if _, err := f.ReadAt(b[:], segmentPrev); err != nil {
		return 0, err
	}
	end := int64(binary.LittleEndian.Uint64(b[:]))
	if end <= segmentBegin {
		return 0, fmt.Errorf("%s does not say where the segment before it ends", filepath.Base(path))
	}
	return end, nil
}

// usedPlace draws a place of the database at which there is something.
func usedPlace(path string, rng *rand.Rand) (int64, error) {
	f, err := os.Open(path) //nolint:gosec // the harness's own
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	for range manyTries {
		if size <= storeHeader {
			break
		}
		at := storeHeader + rng.Int64N(size-storeHeader)
		var b [storePage]byte
		n, _ := f.ReadAt(b[:], at/storePage*storePage) // the end is an error, too
		for _, x := range b[:n] {
			if x != 0 {
				return at, nil
			}
		}
	}
	return 0, errors.New("there is nothing in the database yet")
}

// truncateDatabase cuts the database off, behind its first pages and before the end of what it holds.
func truncateDatabase(path string, rng *rand.Rand) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	at, err := usedPlace(path, rng)
	if err != nil {
		return "", err
	}
	if err := os.Truncate(path, at); err != nil {
		return "", err
	}
	return fmt.Sprintf("cut %s off at %d of %d bytes", filepath.Base(path), at, info.Size()), nil
}

// flip changes one bit.
func flip(path string, at int64, rng *rand.Rand, text string) (did string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the harness's own
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return "", err
	}
	bit := rng.IntN(8)
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b[:], at); err != nil {
		return "", err
	}
	return fmt.Sprintf("flipped bit %d of byte %d of %s (%s)", bit, at, filepath.Base(path), text), nil
}

// flipRecord changes one bit of a key's value, the same one wherever that record is: pages that are not in use any more may have it, too.
func flipRecord(path string, d Damage, rng *rand.Rand) (string, error) {
	if d.Value == "" {
		return "", fmt.Errorf("%q has no value to damage", d.Key)
	}
	b, err := os.ReadFile(path) //nolint:gosec // the harness's own
	if err != nil {
		return "", err
	}
	all := recordValues(b, d.Key, d.Value)
	if len(all) == 0 {
		return "", fmt.Errorf("the database does not hold %q with the value %q", d.Key, d.Value)
	}
	in, seed := rng.Int64N(int64(len(d.Value))), rng.Uint64()
	did := ""
	for _, at := range all {
		text := fmt.Sprintf("the value of %s; it is there %d times", d.Key, len(all))
		if did, err = flip(path, at+in, rand.New(rand.NewPCG(seed, 0)), text); err != nil {
			return "", err
		}
	}
	return did, nil
}

// recordValues are the places in a database at which a record of key has its value.
func recordValues(b []byte, key, value string) (places []int64) {
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte(key))
		if i < 0 {
			return places
		}
		at += i + len(key)
		if len(b)-at < recordTexts {
			return places
		}
		from := at + recordTexts + int(b[at+recordType]) + int(binary.LittleEndian.Uint16(b[at+recordType+1:]))
		if from <= len(b) && bytes.HasPrefix(b[from:], []byte(value)) {
			places = append(places, int64(from))
		}
	}
}
