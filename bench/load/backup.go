package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// BackupConfman reads a backup of a node, to its end.
func BackupConfman(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, bulkTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/cluster/backup", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("a backup: status %d", resp.StatusCode)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	return some(n, err)
}

// BackupEtcd reads a snapshot of a node, to its end.
func BackupEtcd(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, bulkTime)
	defer cancel()
	c, err := DialEtcd(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	snapshot, err := c.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	n, err := io.Copy(io.Discard, snapshot)
	return some(n, err)
}

func some(n int64, err error) error {
	if err == nil && n == 0 {
		err = errors.New("an empty backup")
	}
	return err
}
