package servers

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDelays: a question and its answer take the delay once each, and nothing is lost.
func TestDelays(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 200_000)) }))
	defer s.Close()
	const each = 20 * time.Millisecond
	d := NewDelays(each)
	defer d.Close()
	port, err := d.Port(s.Listener.Addr().(*net.TCPAddr).Port)
	require.NoError(t, err)
	again, err := d.Port(s.Listener.Addr().(*net.TCPAddr).Port)
	require.NoError(t, err)
	assert.Equal(t, port, again)
	for range 3 {
		start := time.Now()
		status, _, body, err := ask(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), "")
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
		assert.Len(t, body, 200_000)
		assert.GreaterOrEqual(t, time.Since(start), 2*each)
	}
	d.Close()
	_, _, _, err = ask(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), "")
	require.Error(t, err)
}

// TestNobodyBehindAProxy: a connection to nobody ends.
func TestNobodyBehindAProxy(t *testing.T) {
	d := NewDelays(0)
	defer d.Close()
	port, err := d.Port(1)
	require.NoError(t, err)
	_, _, _, err = ask(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), "")
	require.Error(t, err)
}
