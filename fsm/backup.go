package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/confman/confman/faultpoint"
)

// A backup is the image of one commit in a container that any tool can keep:
//
//	confman-backup 1\n
//	{"cluster":"...","revision":57,...}\n      one line of JSON: BackupInfo
//	chunks, each:
//	     4  length of what follows the checksum, little-endian, not 0
//	     4  CRC-32C of the length and of what follows
//	        zstd frame of the next backupChunkBytes of the image, or of its rest
//	     4  0
//	    32  SHA-256 of everything before it
//
// Nothing follows. The checksums of chunks find damage early, the hash finds all of it, and
// what was cut off or added.
const (
	backupMagic = "confman-backup 1\n"

	// maxBackupLineBytes bounds what is read of a line that calls itself a backup's header.
	maxBackupLineBytes = 64 << 10
	// backupChunkBytes is how much of the image one chunk holds.
	backupChunkBytes = 1 << 20
	// maxChunkBytes bounds one, compressed: what does not compress grows by a few bytes.
	maxChunkBytes = backupChunkBytes + 4<<10

	chunkHeaderBytes = 8
)

var (
	// ErrNoBackup means that a file is not a backup, or is one of a format that this program does not know.
	ErrNoBackup = errors.New("fsm: not a backup")
	// ErrBackupDamaged means that a backup is not what was written, or not all of it.
	ErrBackupDamaged = errors.New("fsm: backup is damaged")
)

// BackupInfo says what a backup holds.
type BackupInfo struct {
	Cluster   ClusterID
	Revision  Revision
	Index     Index
	Term      uint64
	StateHash [32]byte
	Chain     [32]byte
	// Size is the image's in bytes.
	Size int64
	// Node made it, At is when by its wall clock.
	Node string
	At   time.Time
}

// backupLine is BackupInfo as the file has it.
type backupLine struct {
	Cluster   string    `json:"cluster"`
	Revision  uint64    `json:"revision"`
	Index     uint64    `json:"index"`
	Term      uint64    `json:"term"`
	StateHash string    `json:"state_hash"`
	Chain     string    `json:"chain"`
	Size      int64     `json:"size"`
	Node      string    `json:"node"`
	At        time.Time `json:"at"`
}

// Backup describes a backup made of i by a node at a time.
func (i *Image) Backup(node string, at time.Time) BackupInfo {
	st := i.State()
	return BackupInfo{
		Cluster: st.Cluster, Revision: st.Revision, Index: st.Applied, Term: st.Term,
		StateHash: st.Hash, Chain: st.Chain, Size: i.Size(), Node: node, At: at.UTC().Truncate(time.Second),
	}
}

func (b *BackupInfo) encode() []byte {
	line, err := json.Marshal(backupLine{
		Cluster: hex.EncodeToString(b.Cluster[:]), Revision: uint64(b.Revision), Index: uint64(b.Index), Term: b.Term,
		StateHash: hex.EncodeToString(b.StateHash[:]), Chain: hex.EncodeToString(b.Chain[:]), Size: b.Size, Node: b.Node, At: b.At,
	})
	must(err == nil, "a backup's header does not encode: %v", err)
	return append(line, '\n')
}

func decodeBackupInfo(line []byte) (BackupInfo, error) {
	var in backupLine
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return BackupInfo{}, fmt.Errorf("%w: header: %w", ErrBackupDamaged, err)
	}
	b := BackupInfo{Revision: Revision(in.Revision), Index: Index(in.Index), Term: in.Term, Size: in.Size, Node: in.Node, At: in.At}
	for _, part := range [...]struct {
		to   []byte
		text string
	}{{b.Cluster[:], in.Cluster}, {b.StateHash[:], in.StateHash}, {b.Chain[:], in.Chain}} {
		if len(part.text) != 2*len(part.to) {
			return BackupInfo{}, fmt.Errorf("%w: header: %q has not %d hex digits", ErrBackupDamaged, part.text, 2*len(part.to))
		}
		if _, err := hex.Decode(part.to, []byte(part.text)); err != nil {
			return BackupInfo{}, fmt.Errorf("%w: header: %w", ErrBackupDamaged, err)
		}
	}
	if b.Size <= 0 || b.Size%pageBytes != 0 {
		return BackupInfo{}, fmt.Errorf("%w: header: an image of %d bytes", ErrBackupDamaged, b.Size)
	}
	return b, nil
}

var chunkTable = crc32.MakeTable(crc32.Castagnoli)

// WriteBackup writes a backup of i, which info describes, to w. After each chunk progress, unless
// nil, is told how many bytes of the image are done; its error ends the backup.
func WriteBackup(w io.Writer, i *Image, info BackupInfo, progress func(done int64) error) error {
	all := sha256.New()
	w = io.MultiWriter(w, all)
	if _, err := w.Write(append([]byte(backupMagic), info.encode()...)); err != nil {
		return err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(backupChunkBytes))
	if err != nil {
		return err
	}
	defer func() { _ = enc.Close() }() // nothing is buffered
	raw := make([]byte, backupChunkBytes)
	chunk := make([]byte, 0, maxChunkBytes+chunkHeaderBytes)
	for at := int64(0); at < info.Size; {
		part := raw[:min(backupChunkBytes, info.Size-at)]
		if _, err := i.ReadAt(part, at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		at += int64(len(part))
		chunk = enc.EncodeAll(part, chunk[:chunkHeaderBytes])
		n := len(chunk) - chunkHeaderBytes
		must(n <= maxChunkBytes, "a chunk of a backup takes %d bytes", n)
		binary.LittleEndian.PutUint32(chunk, uint32(n))
		binary.LittleEndian.PutUint32(chunk[4:], chunkSum(chunk[:4], chunk[chunkHeaderBytes:]))
		if err := faultpoint.Hit("fsm/write-backup"); err != nil {
			return err
		}
		if _, err := w.Write(chunk); err != nil {
			return err
		}
		if progress != nil {
			if err := progress(at); err != nil {
				return err
			}
		}
	}
	if _, err := w.Write(make([]byte, 4)); err != nil {
		return err
	}
	_, err = w.Write(all.Sum(nil))
	return err
}

// chunkSum is the checksum of a chunk.
func chunkSum(length, frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, chunkTable), chunkTable, frame)
}

// BackupReader reads the image out of a backup. What it gave is sound only once it gave io.EOF.
type BackupReader struct {
	info BackupInfo
	src  *bufio.Reader
	all  hash.Hash
	dec  *zstd.Decoder
	raw  []byte // of the chunk, not given yet
	buf  []byte
	in   []byte
	left int64
	sum  [32]byte
	err  error
}

// OpenBackup reads a backup's header. The reader must be closed. Errors: ErrNoBackup; ErrBackupDamaged; src's.
func OpenBackup(src io.Reader) (*BackupReader, error) {
	b := &BackupReader{src: bufio.NewReaderSize(src, maxBackupLineBytes), all: sha256.New()}
	magic := make([]byte, len(backupMagic))
	if _, err := io.ReadFull(b.src, magic); err != nil && !endsEarly(err) {
		return nil, err
	}
	if string(magic) != backupMagic {
		return nil, fmt.Errorf("%w of a format that this program knows: it begins with %q", ErrNoBackup, bytes.TrimRight(magic, "\x00"))
	}
	line, err := b.src.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || endsEarly(err) {
		return nil, fmt.Errorf("%w: its header has no end", ErrBackupDamaged)
	}
	if err != nil {
		return nil, err
	}
	if b.info, err = decodeBackupInfo(line); err != nil {
		return nil, err
	}
	_, _ = b.all.Write(magic)
	_, _ = b.all.Write(line)
	b.left = b.info.Size
	b.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(backupChunkBytes))
	return b, err
}

// endsEarly tells whether the source ended. One that says why it broke off may wrap the same: that is no damage.
func endsEarly(err error) bool {
	return err == io.EOF || err == io.ErrUnexpectedEOF //nolint:errorlint // see above
}

// Close gives back what the reader holds; not the source.
func (b *BackupReader) Close() { b.dec.Close() }

// Info is what the backup says of itself; true only once Read gave io.EOF.
func (b *BackupReader) Info() BackupInfo { return b.info }

// Sum is the hash that ends the backup, once Read gave io.EOF: it names its very bytes.
func (b *BackupReader) Sum() [32]byte { return b.sum }

// Read gives the next bytes of the image; io.EOF after the last, if all of the backup is what was
// written. Else ErrBackupDamaged, or what reading it met.
func (b *BackupReader) Read(p []byte) (int, error) {
	for len(b.raw) == 0 && b.err == nil {
		b.err = b.chunk()
	}
	if len(b.raw) == 0 {
		return 0, b.err
	}
	n := copy(p, b.raw)
	b.raw = b.raw[n:]
	return n, nil
}

// chunk reads the next one, or the end.
func (b *BackupReader) chunk() error {
	var head [chunkHeaderBytes]byte
	if err := b.read(head[:4]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(head[:])
	switch {
	case b.left == 0 && n != 0:
		return fmt.Errorf("%w: there is more of it than the %d bytes that its header says", ErrBackupDamaged, b.info.Size)
	case b.left == 0:
		return b.end()
	case n == 0 || n > maxChunkBytes:
		return fmt.Errorf("%w: at byte %d of the image: a chunk of %d bytes", ErrBackupDamaged, b.info.Size-b.left, n)
	}
	if err := b.read(head[4:]); err != nil {
		return err
	}
	if b.in == nil {
		b.in = make([]byte, maxChunkBytes)
	}
	in := b.in[:n]
	if err := b.read(in); err != nil {
		return err
	}
	if chunkSum(head[:4], in) != binary.LittleEndian.Uint32(head[4:]) {
		return fmt.Errorf("%w: at byte %d of the image: a chunk's checksum does not match", ErrBackupDamaged, b.info.Size-b.left)
	}
	out, err := b.dec.DecodeAll(in, b.buf[:0])
	if err == nil && int64(len(out)) != min(b.left, backupChunkBytes) {
		err = fmt.Errorf("it holds %d bytes", len(out))
	}
	if err != nil {
		return fmt.Errorf("%w: at byte %d of the image: a chunk that does not decode: %w", ErrBackupDamaged, b.info.Size-b.left, err)
	}
	b.buf, b.raw = out, out
	b.left -= int64(len(out))
	return nil
}

// end checks the hash, and that nothing follows.
func (b *BackupReader) end() error {
	sum := b.all.Sum(nil)
	if _, err := io.ReadFull(b.src, b.sum[:]); err != nil {
		return b.early(err)
	}
	if !bytes.Equal(sum, b.sum[:]) {
		return fmt.Errorf("%w: its SHA-256 does not match", ErrBackupDamaged)
	}
	switch _, err := b.src.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: bytes follow its end", ErrBackupDamaged)
	case !errors.Is(err, io.EOF):
		return err
	}
	return io.EOF
}

// read reads what the hash covers.
func (b *BackupReader) read(p []byte) error {
	if _, err := io.ReadFull(b.src, p); err != nil {
		return b.early(err)
	}
	_, _ = b.all.Write(p)
	return nil
}

func (b *BackupReader) early(err error) error {
	if endsEarly(err) {
		return fmt.Errorf("%w: it ends early: %d of the image's %d bytes are there", ErrBackupDamaged, b.info.Size-b.left, b.info.Size)
	}
	return err
}
