package httpapi

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// backup answers GET /cluster/backup: the whole database, with every write acknowledged anywhere
// before the request, as fsm.WriteBackup makes it. It ends with a hash of itself, so that its reader
// knows that it is whole.
func (c *call) backup() error {
	if _, err := parseQuery(c.r.URL.RawQuery, noParams); err != nil {
		return err
	}
	if accepted(c.r, typeOctets) < 0 {
		return notAcceptable(typeOctets)
	}
	// It holds all values, and what the audit tells: to run the cluster is not enough.
	c.need(fsm.VerbCluster|fsm.VerbRead|fsm.VerbAudit, "")
	st, err := c.read(freshness{consistency: linearizable}, func(*fsm.View) error { return nil })
	if err != nil {
		return err
	}
	b, err := c.api.Node.Backup(c.r.Context())
	if err != nil {
		return err
	}
	defer b.Close()
	st.revision = b.Info.Revision
	log := c.api.Logger.With(slog.String("request_id", c.id), slog.String("principal", c.who.principal.String()),
		slog.String("source", c.r.RemoteAddr), slog.Uint64("revision", uint64(b.Info.Revision)))
	// It is in no change log, for it changes nothing: whoever reads everything is in this one.
	log.Info("a backup is sent", slog.Int64("bytes", b.Info.Size))
	if err := c.sendBackup(b, st); err != nil {
		log.Warn("the backup broke off", slog.Any("error", err))
		panic(http.ErrAbortHandler) // the status line is out
	}
	log.Info("the backup was sent")
	return nil
}

// sendBackup sends b. Before each chunk but the first it is asked again whether the caller may have it,
// as of an export.
func (c *call) sendBackup(b *node.Backup, st standing) error {
	control := http.NewResponseController(c.w)
	// The connection is read from meanwhile, to see the client leave: not to time out.
	_ = control.SetReadDeadline(time.Time{})
	patience := func() { _ = control.SetWriteDeadline(earlier(c.api.Now().Add(TransferTimeout), b.Until)) }
	more := func(int64) error {
		if err := c.r.Context().Err(); err != nil {
			return err
		}
		if _, err := c.newest(); err != nil {
			return err
		}
		patience()
		return nil
	}
	patience()
	status := c.api.Node.Status()
	h := c.w.Header()
	h["Cache-Control"] = noStoreHeader
	h["Content-Disposition"] = []string{`attachment; filename="` + backupName(&b.Info) + `"`}
	c.head(answer{status: http.StatusOK, contentType: octetsHeader, length: -1}, st, &status)
	return fsm.WriteBackup(c.w, b.Image, b.Info, more)
}

var octetsHeader = []string{typeOctets}

// backupName is what a browser calls the file.
func backupName(b *fsm.BackupInfo) string {
	return fmt.Sprintf("confman-%s-%d.backup", hex.EncodeToString(b.Cluster[:4]), b.Revision)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
