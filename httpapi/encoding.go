package httpapi

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// coding is a content coding (RFC 9110 §8.4.1) of an answer.
//
// # Codings and etags
//
// A strong etag names one sequence of bytes (RFC 9110 §8.8.1), so each coding has its own: the
// revision, and after it the coding: "57", "57-gzip", "57-zstd". A weak one would be simpler, but
// If-Match must not take those, and whoever reads a value with a compressing client could then
// not write it back on a condition. As a condition, each of them names revision 57, whichever
// coding the request takes: a client that has any of them has the value. A 304 repeats the
// etag that matched, so that a cache knows which of its copies is good.
type coding uint8

const (
	identity coding = iota
	gzipCoding
	zstdCoding // RFC 8878; within the window of RFC 9659, which browsers hold servers to
)

var (
	codingNames    = [...]string{identity: "identity", gzipCoding: "gzip", zstdCoding: "zstd"}
	codingHeaders  = [...][]string{gzipCoding: {"gzip"}, zstdCoding: {"zstd"}}
	codingSuffixes = [...]string{identity: "", gzipCoding: "-gzip", zstdCoding: "-zstd"}

	// encodedTypes are what is worth the work. The rest, bare octets for one, may be compressed
	// already; and an event stream (text/event-stream) must arrive event by event.
	encodedTypes = []string{typeJSON, typeText, typeRecords, typeYAML, typeProblem, typeMetrics}

	varyEncodingHeader = []string{"Accept-Encoding"}
)

// acceptedCoding picks the coding that Accept-Encoding wants most, the smaller of those wanted
// alike. Nothing that it says makes a request fail: what is left then is the answer as it is.
func acceptedCoding(lines []string) coding {
	if len(lines) == 0 { // RFC 9110 would allow any: but who says nothing wants to be left alone
		return identity
	}
	best, bestQ := identity, codingQuality(lines, codingNames[identity])
	for _, c := range [...]coding{gzipCoding, zstdCoding} {
		if q := codingQuality(lines, codingNames[c]); q > 0 && q >= bestQ {
			best, bestQ = c, q
		}
	}
	return best
}

// codingQuality is how much the header wants a coding, from 0 to 1 (RFC 9110 §12.5.3).
func codingQuality(lines []string, name string) float64 {
	q, rank := 0.0, 0
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			token, params, _ := strings.Cut(item, ";")
			token = strings.TrimSpace(token)
			if len(token) == len("x-gzip") && strings.EqualFold(token[:2], "x-") {
				token = token[2:] // an alias, says RFC 9110 §8.4.1.3
			}
			r := 0
			switch {
			case strings.EqualFold(token, name):
				r = 2
			case token == "*":
				r = 1
			}
			if r > rank {
				q, rank = weight(params), r
			}
		}
	}
	return q
}

// encoder is a compressor that is kept from answer to answer.
type encoder struct {
	api    *api
	coding coding
	w      interface {
		io.WriteCloser
		Reset(w io.Writer)
	}
	out bytes.Buffer // for answers that are encoded whole
}

// encoders are those that wait for an answer, by coding.
var encoders = [...]sync.Pool{
	gzipCoding: {New: func() any {
		w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // it fails only on the level
		return &encoder{coding: gzipCoding, w: w}
	}},
	zstdCoding: {New: func() any {
		// It fails only on an option that is out of range. One goroutine is the caller's own.
		w, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithWindowSize(encoderWindow), zstd.WithLowerEncoderMem(true), zstd.WithEncoderConcurrency(1))
		return &encoder{coding: zstdCoding, w: w}
	}},
}

// encoder returns one for this request that writes to w, which must be released; nil if the
// client wants none, or MaxEncoders are at work: the answer then goes out as it is.
func (c *call) encoder(w io.Writer) *encoder {
	k := acceptedCoding(c.r.Header["Accept-Encoding"])
	if k == identity || !c.api.encoders.TryAcquire(1) {
		return nil
	}
	e := encoders[k].Get().(*encoder)
	e.api = c.api
	if w == nil {
		w = &e.out
	}
	e.w.Reset(w)
	return e
}

// release gives the encoder back, whatever became of what it wrote.
func (e *encoder) release() {
	e.w.Reset(io.Discard) // it lets go of the connection
	if e.out.Reset(); e.out.Cap() > maxKeptEncodedBytes {
		e.out = bytes.Buffer{}
	}
	e.api.encoders.Release(1)
	e.api = nil
	encoders[e.coding].Put(e)
}

// encode encodes the body of an answer that goes out whole, and says so in a. nil: as it is,
// because the client, the type, the size or the result speak against it. Of the size and the
// type a client knows nothing, so that its caches must tell the answers apart either way.
func (c *call) encode(a *answer) *encoder {
	if len(c.buf) < MinEncodedBytes || len(a.contentType) == 0 || !slices.Contains(encodedTypes, a.contentType[0]) {
		return nil
	}
	if a.etag != 0 && isWrite(c.r.Method) {
		return nil // the etag is that of what was written, not of this answer
	}
	c.varyEncoding()
	e := c.encoder(nil)
	if e == nil {
		return nil
	}
	_, err := e.w.Write(c.buf)
	if err == nil {
		err = e.w.Close()
	}
	if err != nil || e.out.Len() >= len(c.buf) { // into memory it does not fail
		e.release()
		return nil
	}
	a.coding = e.coding
	return e
}

// varyEncoding tells caches that the answer depends on Accept-Encoding.
func (c *call) varyEncoding() {
	if h := c.w.Header(); h["Vary"] == nil { // varyHeader has it
		h["Vary"] = varyEncodingHeader
	}
}
