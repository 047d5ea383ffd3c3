// Package batch reads pictures by the thousand: it finds them (files, folders,
// patterns, lists, the standard input) and decodes some ahead of who looks at
// them, in their order and in the memory of some.
package batch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"parley/nets/pixels"
)

// Source is a picture that is to be read, or why there is none.
type Source struct {
	Name string // as it was given, or the path that was found; "-" is the standard input
	Err  error
	in   io.Reader // of "-"
	how  pixels.Options
	open func() (io.ReadCloser, error)
}

// From is a picture that is read from what open opens. Its errors do not have the
// name.
func From(name string, open func() (io.ReadCloser, error)) Source {
	return Source{Name: name, open: open}
}

// Read decodes the picture.
func (s Source) Read() (*pixels.Image, error) {
	if s.Err != nil {
		return nil, s.Err
	}
	if s.open != nil {
		f, err := s.open()
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return s.how.Decode(f)
	}
	if s.in == nil {
		return s.how.Read(s.Name)
	}
	m, err := s.how.Decode(s.in)
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	return m, nil
}

// Find says where pictures are looked for.
type Find struct {
	Recursive bool      // folders with their subfolders
	Stdin     io.Reader // of "-"
	Read      pixels.Options
}

// Sources gives the pictures that arguments name, in the order of the arguments:
//
//   - a file, whatever it is called;
//   - a folder: the files in it that are named as pictures, sorted, without
//     hidden ones;
//   - a pattern with *, ?, [], {} or ** that no file is called: what it matches,
//     sorted;
//   - @FILE, where no file is called so: names, one a line or with a NUL behind
//     each, that may be files, folders and patterns;
//   - "-": the standard input, a picture or a list as @FILE.
//
// What names nothing is a Source with an error. Lists are read as they are used.
func (f Find) Sources(args []string) iter.Seq[Source] {
	return func(yield func(Source) bool) {
		each := func(s Source) bool {
			s.how = f.Read
			return yield(s)
		}
		for _, a := range args {
			if !f.argument(a, each) {
				return
			}
		}
	}
}

// Several reports whether arguments may name more than one picture.
func Several(args []string) bool {
	if len(args) != 1 {
		return true
	}
	st, err := os.Stat(args[0])
	return err != nil || st.IsDir()
}

// IsPicture reports whether a file is named as a picture. Some of these kinds are
// not read: a folder that has them is not passed over in silence.
func IsPicture(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
		".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k":
		return true
	}
	return false
}

func (f Find) argument(a string, yield func(Source) bool) bool {
	if a == "-" {
		return f.stdin(yield)
	}
	list, ok := strings.CutPrefix(a, "@")
	if _, err := os.Lstat(a); !ok || err == nil {
		return f.name(a, yield)
	}
	if list == "-" {
		return f.list("standard input", f.Stdin, yield)
	}
	in, err := os.Open(list)
	if err != nil {
		return yield(Source{Name: a, Err: err})
	}
	defer in.Close()
	return f.list(list, in, yield)
}

// stdin is a picture, by its first bytes, or a list.
func (f Find) stdin(yield func(Source) bool) bool {
	if f.Stdin == nil {
		return yield(Source{Name: "-", Err: errors.New("there is no standard input")})
	}
	r := bufio.NewReaderSize(f.Stdin, 1<<16)
	head, err := r.Peek(pixels.HeadBytes)
	if err != nil && err != io.EOF || len(head) == 0 {
		if err == io.EOF {
			err = errors.New("standard input: nothing in it")
		}
		return yield(Source{Name: "-", Err: err})
	}
	text := bytes.IndexByte(head, 0) < 0 && utf8.Valid(head) && head[0] != '<' && head[0] != '%' // a name may begin as a picture does
	if pixels.Kind(head) != "" && !text {
		return yield(Source{Name: "-", in: r}) // which says so where the kind is not read
	}
	return f.list("standard input", r, yield)
}

// maxName is how long a name of a list may be, in bytes.
const maxName = 1 << 16

// list gives what the names of a list name.
func (f Find) list(of string, in io.Reader, yield func(Source) bool) bool {
	r := bufio.NewReaderSize(in, maxName)
	end := byte('\n')
	if head, _ := r.Peek(maxName); bytes.IndexByte(head, 0) >= 0 { // an error comes again
		end = 0
	}
	for n := 1; ; n++ {
		line, err := r.ReadSlice(end)
		if err == bufio.ErrBufferFull {
			return yield(Source{Name: of, Err: fmt.Errorf("%s: name %d has more than %d bytes: not a list of names", of, n, maxName)})
		}
		if err != nil && err != io.EOF {
			return yield(Source{Name: of, Err: fmt.Errorf("%s: %w", of, err)})
		}
		name := strings.TrimSuffix(string(line), string(rune(end)))
		if end == '\n' {
			name = strings.TrimSuffix(name, "\r")
			if n == 1 {
				name = strings.TrimPrefix(name, "\uFEFF")
			}
		}
		if name != "" && !f.name(name, yield) {
			return false
		}
		if err == io.EOF {
			return true
		}
	}
}

// name gives what a file, folder or pattern names.
func (f Find) name(name string, yield func(Source) bool) bool {
	st, err := os.Stat(name)
	switch {
	case err == nil && st.IsDir():
		return f.folder(name, yield)
	case err != nil && errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(name, "*?[{"):
		return f.pattern(name, yield)
	}
	return yield(Source{Name: name}) // whose absence is told when it is read
}

func (f Find) pattern(pattern string, yield func(Source) bool) bool {
	names, err := doublestar.FilepathGlob(pattern, doublestar.WithNoFollow()) // links may go in circles
	if err == nil && len(names) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return yield(Source{Name: pattern, Err: fmt.Errorf("%s: no file matches: %w", pattern, err)})
	}
	slices.Sort(names)
	files := 0
	for _, n := range names {
		st, err := os.Stat(n)
		if err == nil && st.IsDir() {
			if !f.Recursive {
				continue // `*` beside pictures means the files
			}
			if files++; !f.folder(n, yield) {
				return false
			}
			continue
		}
		files++
		if !yield(Source{Name: n}) {
			return false
		}
	}
	if files == 0 {
		return yield(Source{Name: pattern, Err: fmt.Errorf("%s: no file matches, folders alone, which are read with --recursive", pattern)})
	}
	return true
}

// folder gives a folder's pictures, those of subfolders where they come by name.
func (f Find) folder(dir string, yield func(Source) bool) bool {
	n, folders, goOn := f.walk(dir, yield)
	if !goOn || n > 0 {
		return goOn
	}
	hint := ""
	if folders > 0 && !f.Recursive {
		hint = "; its folders are read with --recursive"
	}
	return yield(Source{Name: dir, Err: fmt.Errorf("%s: no pictures in this folder (.png, .jpg, .webp, .gif, .bmp, .tif)%s", dir, hint)})
}

func (f Find) walk(dir string, yield func(Source) bool) (pictures, folders int, goOn bool) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return 1, 0, yield(Source{Name: dir, Err: err})
	}
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir(): // links to folders are not followed: they may go in circles
			folders++
			if f.Recursive {
				n, _, ok := f.walk(path, yield)
				if pictures += n; !ok {
					return pictures, folders, false
				}
			}
		case IsPicture(e.Name()):
			if pictures++; !yield(Source{Name: path}) {
				return pictures, folders, false
			}
		}
	}
	return pictures, folders, true
}
