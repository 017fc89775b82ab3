// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Names in a layer's file system. Tools see only what is in upperName.
const (
	upperName   = "upper"
	ballastName = "ballast"
)

// What the overlay file system itself makes for a mount, and which is no
// content: work, work/work, incompat and volatile, each a block, and the file
// dirty.
const (
	mountBlocks = 4
	mountFiles  = 5
)

// blanksKept bounds how many sizes have an empty image: whoever can ask for
// sizes could fill the disk else.
const blanksKept = 32

// blank opens an empty image of a size, which is made when there is none yet.
func (m *Maker) blank(size Size, beside string) (*os.File, error) {
	if m.Blanks == "" {
		f, err := format(beside, size)
		if err != nil {
			return nil, err
		}
		return f, os.Remove(f.Name())
	}
	name := filepath.Join(m.Blanks, fmt.Sprintf("empty-%d-%d", size.Bytes, size.Files))
	if f, err := openBlank(name, size); err == nil {
		return f, nil
	}
	// Whoever comes second finds it when the lock is his.
	dir, err := os.Open(m.Blanks)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", m.Blanks, err)
	}
	if f, err := openBlank(name, size); err == nil {
		return f, nil
	}
	if err := m.prune(); err != nil {
		return nil, err
	}
	f, err := format(m.Blanks, size)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Sync(), os.Rename(f.Name(), name)); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

// openBlank opens an empty image that was made before, by this version.
func openBlank(name string, size Size) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if mark, clean, err := readMark(f); err != nil || !clean || mark.Size != size || mark.boot() != "" {
		return nil, errors.Join(errNoLayer, err, f.Close())
	}
	return f, nil
}

// prune makes room for one more, and removes what a killed process left. The
// lock on the directory is held.
func (m *Maker) prune() error {
	entries, err := os.ReadDir(m.Blanks)
	if err != nil {
		return err
	}
	type blank struct {
		name string
		made time.Time
	}
	var all []blank
	for _, e := range entries {
		name := filepath.Join(m.Blanks, e.Name())
		if made, _ := filepath.Match(newPattern, e.Name()); made {
			if err := os.Remove(name); err != nil {
				return err
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		all = append(all, blank{name, info.ModTime()})
	}
	slices.SortFunc(all, func(a, b blank) int { return cmp.Compare(a.made.UnixNano(), b.made.UnixNano()) })
	for i := 0; i <= len(all)-blanksKept; i++ {
		if err := os.Remove(all[i].name); err != nil {
			return err
		}
	}
	return nil
}

const newPattern = "new-*.img"

// formatTries bounds how often the guess of the bookkeeping's size may be too
// small.
const formatTries = 8

// tail follows the file system in an image, in bytes, and stays empty. At the
// end of a block device is where members of disk arrays describe them, and the
// host's udev looks there: what a call wrote must not be what it finds.
const tail = 1 << 20

// format makes an empty image in a directory, under a name of its own.
func format(dir string, size Size) (_ *os.File, err error) {
	blocks := size.blocks() + mountBlocks
	files := size.Files + mountFiles
	// mke2fs counts inodes by group, and a group has at most as many as it has
	// blocks. The rest of the first guess is what ext4 reserves for maps, a
	// fiftieth but at most 4096 blocks, the inodes, 16 a block, and groups' tables.
	inodes := files + 16
	total := max(blocks+min(blocks/48, 4096)+blocks/4096+inodes/16+512, inodes+inodes/8)
	for range formatTries {
		f, err := os.CreateTemp(dir, newPattern)
		if err != nil {
			return nil, explainRoom(dir, err)
		}
		lacks, err := fill(f, total, inodes, blocks, files)
		if err == nil && lacks == (Size{}) {
			err = writeMark(f, size, "")
		}
		if err == nil && lacks == (Size{}) {
			return f, nil
		}
		_, _ = f.Close(), os.Remove(f.Name())
		if err != nil {
			return nil, explainRoom(dir, err)
		}
		inodes += lacks.Files
		total += lacks.Bytes/block + lacks.Files/16 + 64
	}
	return nil, fmt.Errorf("mke2fs makes no file system with room for %d bytes and %d files", size.Bytes, size.Files)
}

// blocks is what the content may take.
func (s Size) blocks() int64 { return (s.Bytes + block - 1) / block }

// fill formats a new image and takes what it has beyond the bounds out of use.
// It tells how much there is less than they ask for.
func fill(image *os.File, total, inodes, blocks, files int64) (lacks Size, err error) {
	if err := image.Truncate(total*block + tail); err != nil {
		return Size{}, err
	}
	if err := mke2fs(image.Name(), total, inodes); err != nil {
		return Size{}, err
	}
	// A description of its own, which goes with the device.
	held, err := os.OpenFile(image.Name(), os.O_RDWR, 0)
	if err != nil {
		return Size{}, err
	}
	defer held.Close()
	if err := lock(held, waitLimit); err != nil {
		return Size{}, err
	}
	device, err := attach(held)
	if err != nil {
		return Size{}, err
	}
	root, err := mountRoot(device)
	if err != nil {
		return Size{}, err
	}
	lacks, err = furnish(root, blocks, files)
	err = errors.Join(err, unix.Syncfs(int(root.Fd())), root.Close(), held.Close())
	if err != nil {
		return Size{}, err
	}
	return lacks, errors.Join(lock(image, waitLimit), unix.Flock(int(image.Fd()), unix.LOCK_UN))
}

// furnish makes the directory for what is written, and the ballast.
func furnish(root *os.File, blocks, files int64) (lacks Size, err error) {
	at := int(root.Fd())
	if err := errors.Join(
		unix.Unlinkat(at, "lost+found", unix.AT_REMOVEDIR),
		unix.Mkdirat(at, upperName, 0o700),
		unix.Mkdirat(at, ballastName, 0o700),
	); err != nil {
		return Size{}, err
	}
	ballast, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d/%s", at, ballastName))
	if err != nil {
		return Size{}, err
	}
	defer ballast.Close()
	space, err := ballast.Create("space")
	if err != nil {
		return Size{}, err
	}
	defer space.Close()
	room, err := free(root)
	if err != nil {
		return Size{}, err
	}
	for i := range room.Files - files {
		if err := ballast.Symlink("x", strconv.FormatInt(i, 10)); err != nil {
			return Size{}, err
		}
	}
	// What is taken may need maps of its own: what that was too much is given
	// back.
	for taken := int64(0); ; {
		if room, err = free(root); err != nil {
			return Size{}, err
		}
		over := room.Bytes - blocks*block
		if over == 0 || over < 0 && taken == 0 {
			break
		}
		if over > 0 {
			err = unix.Fallocate(int(space.Fd()), 0, taken, over)
		} else {
			err = space.Truncate(max(taken+over, 0))
		}
		if err != nil {
			return Size{}, fmt.Errorf("take %d bytes of %d out of use: %w", over, room.Bytes, err)
		}
		taken = max(taken+over, 0)
	}
	return Size{Bytes: max(blocks*block-room.Bytes, 0), Files: max(files-room.Files, 0)}, nil
}

// free is what a file system has left for others than itself.
func free(root *os.File) (Size, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &st); err != nil {
		return Size{}, fmt.Errorf("statfs: %w", err)
	}
	return Size{Bytes: int64(st.Bavail) * st.Bsize, Files: int64(st.Ffree)}, nil
}

// mke2fsPlaces are where the program may be: PATH is not asked.
var mke2fsPlaces = []string{"/usr/sbin/mke2fs", "/sbin/mke2fs"}

// mke2fsLimit bounds its run, of some milliseconds.
const mke2fsLimit = time.Minute

func findMke2fs() (string, error) {
	for _, place := range mke2fsPlaces {
		if info, err := os.Stat(place); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return place, nil
		}
	}
	return "", &Refusal{Err: fmt.Errorf("there is no %s", mke2fsPlaces[0]), Do: "install e2fsprogs"}
}

// mke2fs formats an image (mke2fs(8)), without the host's own configuration.
func mke2fs(image string, blocks, inodes int64) error {
	program, err := findMke2fs()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), mke2fsLimit)
	defer cancel()
	c := exec.CommandContext(ctx, program, "-q", "-F", "-t", "ext4", "-b", strconv.Itoa(block), "-I", "256",
		"-O", "none,64bit,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file,metadata_csum,sparse_super2",
		// With the tables of many groups in one place content lies in long pieces.
		"-G", "256", "-N", strconv.FormatInt(inodes, 10), "-m", "0", "-U", "clear", "-e", "remount-ro",
		"-E", "lazy_itable_init=1,nodiscard,num_backup_sb=0,root_owner=0:0", image, strconv.FormatInt(blocks, 10))
	c.Env = []string{"LC_ALL=C", "MKE2FS_CONFIG=/dev/null"}
	said, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %.500s", program, err, said)
	}
	return nil
}

// copyExtents copies what a sparse file holds (lseek(2), SEEK_DATA).
func copyExtents(to, from *os.File) error {
	buffer := make([]byte, 128<<10)
	for at := int64(0); ; {
		begin, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if at, err = unix.Seek(int(from.Fd()), begin, unix.SEEK_HOLE); err != nil {
			return err
		}
		for begin < at {
			n, err := from.ReadAt(buffer[:min(int64(len(buffer)), at-begin)], begin)
			if err == nil || n > 0 {
				_, err = to.WriteAt(buffer[:n], begin)
			}
			if err != nil {
				return err
			}
			begin += int64(n)
		}
	}
}
