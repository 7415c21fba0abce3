// Package losefs is a file system for the tests of programs that claim to survive a loss of power: it passes everything through
// to a directory, remembers what was not synced, and forgets as much of it on command as a disk may.
//
// A [Disk] is that directory with its memory. It is mounted by FUSE ([Disk.Mount]), and the programs under test work in the
// mount. To lose power: end them, [Disk.Cut] what they still wait for, [Disk.Unmount], so that the kernel's cache goes, and
// [Disk.LosePower]; then mount it again.
//
// # What is lost
//
// A seeded generator decides, for each file and for each directory apart, whether all is kept, all is lost, the beginning or the end is
// kept, or any of it.
//
//   - Of a file: pieces of 512 bytes that were written since its last fsync or fdatasync, and the change of its
//     length. A piece that was written several times is as it is now, or as it was when the last sync began. What was appended
//     and lost while the length was kept is zeros. With [Options.Torn] some pieces are half new and half old: sectors were torn.
//   - Of a directory: names that were made, renamed or removed since its last fsync. A rename is kept or lost as a whole. A change is
//     kept only with those before it that concern the same names.
//
// A sync of a file says nothing about its name: that needs a sync of its directory, as POSIX has it. ext4 is kinder to a new file, see
// [Options.KeepNames].
//
// After a sync that failed the pages count as clean: a later sync that succeeds does not bring them to the disk unless
// they are written again ("fsyncgate"). They are read back as they were written until power is lost.
//
// # What it has not
//
// Hard links, symbolic links, renames between directories, holes punched into files, extended attributes, owners, times. Locks, and
// files that are mapped for reading, work, since the kernel does them; a shared mapping that is written to is not supported: what is
// written there reaches the disk when the kernel likes.
package losefs
