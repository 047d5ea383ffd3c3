//go:build !linux

package output

import "os"

// renameNew renames to a name that nothing has, but for what comes between the
// look and the rename.
func renameNew(from, to string) error {
	if err := absent(to); err != nil {
		return err
	}
	return os.Rename(from, to)
}
