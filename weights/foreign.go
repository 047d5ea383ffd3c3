package weights

import (
	"bytes"
	"fmt"
)

// ForeignError says what lies in the place of a checkpoint or a configuration.
type ForeignError struct{ File, What string }

func (e *ForeignError) Error() string { return fmt.Sprintf("%s is %s", e.File, e.What) }

// foreign says what a file is, by its first bytes, where it is none that is
// read: what people and tools leave in the place of weights. "" is for all
// others.
func foreign(data []byte) string {
	if len(data) == 0 {
		return "empty: a download that did not begin?"
	}
	head := data[:min(len(data), 512)]
	for _, f := range []struct{ magic, what string }{
		{"GGUF", "a GGUF file (llama.cpp's and stable-diffusion.cpp's format), " +
			"which is not read: use the safetensors or pickle that it was made of"},
		{"lmgg", "a GGML file, which is not read: use the safetensors or pickle that it was made of"},
		{"ggml", "a GGML file, which is not read: use the safetensors or pickle that it was made of"},
		{"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"},
		{"\x89HDF", "an HDF5 file (of TensorFlow), which is not read: use the safetensors or pickle"},
		{"\x93NUMPY", "a NumPy array, not a checkpoint"},
		{"\x1f\x8b", "compressed by gzip: unpack it first"},
		{"BZh", "compressed by bzip2: unpack it first"},
		{"\x28\xb5\x2f\xfd", "compressed by Zstandard: unpack it first"},
		{"7z\xbc\xaf", "a 7z archive: unpack it first"},
		{"Rar!", "a RAR archive: unpack it first"},
		{"\xfd7zXZ", "compressed by xz: unpack it first"},
		{"Entry not found", "a hub's answer \"Entry not found\", not the file"},
		{"Invalid username or password", "a hub's answer that a password is missing, not the file"},
		{"\x89PNG", "a picture"}, {"\xff\xd8\xff", "a picture"},
	} {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.what
		}
	}
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n"))
	for _, tag := range []string{"<!doctype", "<html", "<head", "<?xml", "<!--"} {
		if bytes.HasPrefix(text, []byte(tag)) {
			return "an HTML or XML page, not the file: a download that asks for a login?"
		}
	}
	if bytes.HasPrefix(text, []byte(`{"error"`)) {
		return "a server's error, not the file: " + string(bytes.TrimSpace(head[:min(len(head), 120)]))
	}
	return ""
}
