package client

import (
	"context"
	"io"
	"net/http"
)

// Backup opens a backup of the whole cluster, as the next endpoint that can make one makes it: with
// every write that was acknowledged before the call. The caller closes it. A Read error that wraps
// ErrBrokenOff says that the rest is missing; the file itself tells whether it is whole.
func (c *Client) Backup(ctx context.Context) (io.ReadCloser, Meta, error) {
	h := http.Header{}
	h.Set("Accept", "application/octet-stream")
	return c.open(ctx, &request{
		method: http.MethodGet, path: base + "/cluster/backup", header: h, reads: true, timeout: BackupAttemptTimeout,
	})
}
