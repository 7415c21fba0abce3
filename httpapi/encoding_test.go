package httpapi

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAcceptedCoding(t *testing.T) {
	for _, c := range []struct {
		header string
		want   coding
	}{
		{"", identity},
		{"gzip", gzipCoding},
		{"zstd", zstdCoding},
		{"gzip, deflate, br, zstd", zstdCoding},
		{"zstd, gzip", zstdCoding},
		{"GZip", gzipCoding},
		{"x-gzip", gzipCoding},
		{"br", identity},
		{"*", zstdCoding},
		{"gzip;q=1.0, *;q=0.5", gzipCoding},
		{"zstd;q=0, *", gzipCoding},
		{"gzip;q=0.2,zstd;q=0.1", gzipCoding},
		{"gzip;q=0", identity},
		{"gzip;q=0, *;q=0", identity},
		{"identity;q=0", identity},
		{"identity;q=0, gzip;q=0.1", gzipCoding},
		{"identity, gzip;q=0.5", identity},
		{"identity;q=0.5, gzip;q=0.5", gzipCoding},
		{" gzip ; q=0.8 ", gzipCoding},
		{";;,=,q=1", identity},
		{"gzip-", identity},
	} {
		lines := []string{c.header}
		if c.header == "" {
			lines = nil
		}
		assert.Equal(t, c.want, acceptedCoding(lines), c.header)
	}
	assert.Equal(t, zstdCoding, acceptedCoding([]string{"gzip;q=0.5", "zstd"}), "two lines")
}

// plain is an answer's body without its coding.
func plain(tb testing.TB, w *httptest.ResponseRecorder) string {
	tb.Helper()
	var src io.Reader = w.Body
	switch k := w.Header().Get("Content-Encoding"); k {
	case "gzip":
		r, err := gzip.NewReader(w.Body)
		require.NoError(tb, err)
		src = r
	case "zstd":
		r, err := zstd.NewReader(w.Body, zstd.WithDecoderMaxWindow(8<<20))
		require.NoError(tb, err)
		defer r.Close()
		src = r
	default:
		require.Empty(tb, k)
	}
	b, err := io.ReadAll(src)
	require.NoError(tb, err)
	return string(b)
}

// TestEncodings: every kind of answer that is worth it is the same in each coding, and says so.
func TestEncodings(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("all work and no play makes jack a dull boy. ", 100)
	f.ok("PUT", config+"/a/long", `"`+long+`"`)
	for range 20 {
		f.ok("PUT", config+"/a/b", `"x"`)
		f.ok("PUT", config+"/a/b", `"y"`)
	}
	for _, c := range []struct{ target, accept, vary string }{
		{config + "/a/long", "application/json", "Accept, Accept-Datetime, Accept-Encoding"},
		{config + "/a/long", "text/plain", "Accept, Accept-Datetime, Accept-Encoding"},
		{config + "/?recursive=true", "*/*", "Accept, Accept-Datetime, Accept-Encoding"},
		{"/api/v1/export/", "application/json", "Accept, Accept-Datetime, Accept-Encoding"},
		{"/api/v1/export/", "application/x-ndjson", "Accept, Accept-Datetime, Accept-Encoding"},
		{"/api/v1/history/a/", "*/*", "Accept-Encoding"},
	} {
		want := f.ok("GET", c.target, "", "Accept: "+c.accept)
		require.Greater(t, want.Body.Len(), MinEncodedBytes)
		assert.Equal(t, c.vary, want.Header().Get("Vary"), c.target)
		for _, coding := range []string{"gzip", "zstd"} {
			w := f.ok("GET", c.target, "", "Accept: "+c.accept, "Accept-Encoding: "+coding)
			assert.Equal(t, coding, w.Header().Get("Content-Encoding"), c.target)
			assert.Equal(t, c.vary, w.Header().Get("Vary"), c.target)
			assert.Equal(t, want.Header().Get("Content-Type"), w.Header().Get("Content-Type"))
			assert.Less(t, w.Body.Len(), want.Body.Len())
			assert.Equal(t, want.Body.String(), plain(t, w))
		}
	}
	for _, c := range [][2]string{
		{config + "/a/b", "application/json"}, // small
		{"/api/v1/export/a/b", "application/json"},
		{config + "/a/long", "application/octet-stream"}, // whatever it may be
	} {
		w := f.ok("GET", c[0], "", "Accept: "+c[1], "Accept-Encoding: gzip, zstd")
		assert.Empty(t, w.Header().Get("Content-Encoding"), c)
	}
	w := f.do("PUT", config+"/a/c?"+strings.Repeat("x", 2000), "1", "Accept-Encoding: gzip")
	assert.Equal(t, "gzip", w.Header().Get("Content-Encoding"), "a problem too")
	assert.Contains(t, plain(t, w), "urn:confman:problem:invalid-parameter")
}

// TestEncodingThatDoesNotPay: what grows goes out as it is.
func TestEncodingThatDoesNotPay(t *testing.T) {
	f := newFixture(t)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	f.ok("PUT", config+"/a", alphabet[:50]+alphabet)
	c := &call{api: f.api, w: newRecorder(), r: httptest.NewRequest("GET", "/", nil)}
	c.r.Header.Set("Accept-Encoding", "gzip")
	state := uint64(1)
	for range 4 << 10 { // a generator of bytes without a pattern
		state = state*6364136223846793005 + 1442695040888963407
		c.buf = append(c.buf, byte(state>>56))
	}
	a := answer{contentType: jsonHeader}
	assert.Nil(t, c.encode(&a))
	assert.Equal(t, identity, a.coding)
	assert.Equal(t, "Accept-Encoding", c.w.Header().Get("Vary"))
	assert.True(t, f.encoders.TryAcquire(MaxEncoders), "it was given back")
}

// TestEncodedETags: each coding has an etag of its own, and all of them are conditions on the
// same revision.
func TestEncodedETags(t *testing.T) {
	f := newFixture(t)
	long := `"` + strings.Repeat("x", 2*MinEncodedBytes) + `"`
	f.ok("PUT", config+"/a", long)
	for header, want := range map[string]string{"identity": `"1"`, "gzip": `"1-gzip"`, "zstd": `"1-zstd"`} {
		for _, method := range []string{"GET", "HEAD"} {
			w := f.ok(method, config+"/a", "", "Accept-Encoding: "+header)
			assert.Equal(t, want, w.Header().Get("Etag"))
			assert.Equal(t, w.Header()["Content-Length"], f.ok("GET", config+"/a", "", "Accept-Encoding: "+header).Header()["Content-Length"])
		}
		// Whatever coding the request takes now.
		for _, now := range []string{"identity", "gzip", "zstd"} {
			for _, condition := range []string{want, "W/" + want, `"7-gzip", ` + want} {
				w := f.do("GET", config+"/a", "", "Accept-Encoding: "+now, "If-None-Match: "+condition)
				assert.Equal(t, http.StatusNotModified, w.Code, condition)
				assert.Equal(t, want, w.Header().Get("Etag"), "the one that matched")
				assert.Empty(t, w.Header().Get("Content-Encoding"))
				assert.Equal(t, "Accept, Accept-Datetime, Accept-Encoding", w.Header().Get("Vary"))
				assert.Zero(t, w.Body.Len())
			}
			f.ok("GET", config+"/a", "", "Accept-Encoding: "+now, "If-Match: "+want)
		}
		f.ok("PUT", config+"/a", long, "If-Match: "+want)
	}
	for _, none := range []string{`"1-br"`, `"1-"`, `"1-gzip-gzip"`, `"-gzip"`, `"1gzip"`} {
		assert.Equal(t, http.StatusBadRequest, f.do("PUT", config+"/a", "2", "If-Match: "+none).Code, none)
		assert.Equal(t, http.StatusOK, f.do("GET", config+"/a", "", "If-None-Match: "+none).Code, none)
	}
	w := f.do("PUT", config+"/a", "2", `If-Match: "1-zstd"`)
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, http.StatusPreconditionFailed, f.do("PUT", config+"/a", "3", `If-Match: "1-gzip"`).Code)
}

// TestEncodersAreBounded: past the bound an answer is not refused, only not compressed.
func TestEncodersAreBounded(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a", `"`+strings.Repeat("x", 2*MinEncodedBytes)+`"`)
	require.True(t, f.encoders.TryAcquire(MaxEncoders))
	for _, target := range []string{config + "/a", "/api/v1/export/"} {
		w := f.ok("GET", target, "", "Accept-Encoding: gzip")
		assert.Empty(t, w.Header().Get("Content-Encoding"))
		assert.Contains(t, w.Body.String(), "xxx")
	}
	f.encoders.Release(1)
	for _, target := range []string{config + "/a", "/api/v1/export/", config + "/a"} {
		assert.Equal(t, "gzip", f.ok("GET", target, "", "Accept-Encoding: gzip").Header().Get("Content-Encoding"))
	}
	assert.False(t, f.encoders.TryAcquire(2), "each was given back once")
}

// TestEncodedExportOverHTTP: a stream of several pieces, in many at a time.
func TestEncodedExportOverHTTP(t *testing.T) {
	f := newFixture(t)
	f.Now = time.Now
	for i := range 5 {
		f.ok("PUT", config+"/a/"+string(rune('a'+i)), strings.Repeat(string(rune('a'+i)), 2*exportBuffer))
	}
	want := f.ok("GET", "/api/v1/export/", "").Body.String()
	_, addr := f.serve(t)
	var group sync.WaitGroup
	answers := make([]*httptest.ResponseRecorder, 16)
	for i := range answers {
		answers[i] = httptest.NewRecorder()
		group.Go(func() {
			r, _ := http.NewRequest("GET", "http://"+addr+"/api/v1/export/", nil)
			r.Header.Set("Accept-Encoding", []string{"gzip", "zstd"}[i%2])
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			maps.Copy(answers[i].Header(), res.Header)
			if _, err = io.Copy(answers[i].Body, res.Body); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, w := range answers {
		assert.Less(t, w.Body.Len(), len(want)/10)
		assert.Equal(t, want, plain(t, w))
	}
	assert.True(t, f.encoders.TryAcquire(MaxEncoders))
}

// TestEncodedExportBreaksOff: an export that fails half-way is no whole document in its coding
// either, and gives its encoder back.
func TestEncodedExportBreaksOff(t *testing.T) {
	f := newFixture(t)
	for i := range 20 {
		f.ok("PUT", config+"/a/"+string(rune('a'+i)), strings.Repeat("x", exportBuffer))
	}
	for _, coding := range []string{"gzip", "zstd"} {
		w := &brokenWriter{httptest.NewRecorder()}
		r := httptest.NewRequest("GET", "/api/v1/export/?format=ndjson", nil)
		r.Header.Set("Accept-Encoding", coding)
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() { f.ServeHTTP(w, r) }, coding)
		assert.Equal(t, coding, w.Header().Get("Content-Encoding"))
		require.True(t, f.encoders.TryAcquire(MaxEncoders))
		f.encoders.Release(MaxEncoders)
	}
	// The one that had an error is good for the next.
	for _, coding := range []string{"gzip", "zstd"} {
		w := f.ok("GET", "/api/v1/export/?format=ndjson", "", "Accept-Encoding: "+coding)
		assert.Equal(t, 20, bytes.Count([]byte(plain(t, w)), []byte("\n")))
	}
}

// brokenWriter is the connection of a client that left.
type brokenWriter struct{ *httptest.ResponseRecorder }

func (b *brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// BenchmarkGetHandlerEncoded reads 2 KiB in each coding.
func BenchmarkGetHandlerEncoded(b *testing.B) {
	for _, k := range codingNames {
		b.Run(k, func(b *testing.B) {
			f := newFixture(b)
			f.ok("PUT", config+"/a", `"`+strings.Repeat("all work and no play ", 100)+`"`)
			f.Now = time.Now
			r, err := http.NewRequest("GET", config+"/a", nil)
			require.NoError(b, err)
			r.Header.Set("Accept-Encoding", k)
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				f.ServeHTTP(w, r)
			}
		})
	}
}
