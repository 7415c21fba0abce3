package tlsfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write puts the pair into two files, the key for its owner alone. Each file is there whole or
// not at all; one that is there already is replaced only if overwrite is set, and otherwise an
// error that is fs.ErrExist.
func (p Pair) Write(certFile, keyFile string, overwrite bool) error {
	if !overwrite {
		for _, name := range []string{certFile, keyFile} {
			if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
				if err == nil {
					err = fs.ErrExist
				}
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	// The key first: a certificate says that its key is there.
	if err := write(keyFile, p.Key, 0o600, overwrite); err != nil {
		return err
	}
	return write(certFile, p.Cert, 0o644, overwrite)
}

func write(name string, text []byte, mode fs.FileMode, overwrite bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // 0600 from the beginning
	if err != nil {
		return err
	}
	defer func() {
		if e := os.Remove(f.Name()); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if overwrite {
		return os.Rename(f.Name(), name)
	}
	return os.Link(f.Name(), name) // unlike a rename, it fails if somebody was faster
}
