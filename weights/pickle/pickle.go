// Package pickle reads the tensors of torch's checkpoints (.bin, .pth, .pt,
// .ckpt), the zip files that torch writes since 1.6 and the legacy ones, and
// TorchScript archives. It executes nothing: names of Python are compared with
// a list, and become inert values.
//
// The machine is our own since the bytes are not to be trusted: what is
// allocated stays in proportion to the size of the file, tensors are slices of
// it, and no file makes it panic.
package pickle

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"path"
	"sort"
	"strconv"
	"strings"

	"parley/engine"
	"parley/weights/safetensors"
)

// Parse finds the tensors in the bytes of a checkpoint. The tensors' data are
// slices of data, copies only where strides or the file's layout ask for them.
// The name is for messages and for Tensor.File.
func Parse(name string, data []byte) ([]safetensors.Tensor, error) {
	c, err := Read(name, data)
	return c.Tensors, err
}

// Checkpoint is what a file holds.
type Checkpoint struct {
	Tensors []safetensors.Tensor
	Step    int    // the training's global_step, which Lightning saves; 0 where it is not said
	Name    string // what textual inversion calls its vectors; "" where it is not said
}

// Read is Parse with what the file says beside its tensors.
func Read(name string, data []byte) (Checkpoint, error) {
	v, err := parse(data)
	var c Checkpoint
	if err == nil {
		c.Tensors, err = collect(v, len(data))
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%s: %w", name, err)
	}
	for i := range c.Tensors {
		c.Tensors[i].File = name
	}
	if d, ok := v.(*dict); ok {
		step, _ := d.get("global_step").(int64)
		c.Step = int(step)
		c.Name, _ = d.get("name").(string)
	}
	return c, nil
}

func parse(data []byte) (any, error) {
	switch {
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return parseZip(data)
	case len(data) > 0 && data[0] == 0x80:
		return parseLegacy(data)
	case len(data) > 512 && bytes.HasPrefix(data[257:], []byte("ustar")):
		return nil, errors.New("a tar archive of torch before 0.2: save it again with a newer torch")
	case bytes.HasPrefix(data, []byte("version https://git-lfs")):
		return nil, errors.New("a Git LFS pointer, not the checkpoint itself")
	}
	return nil, errors.New("not a checkpoint of torch: neither a zip file nor a pickle")
}

// storage is a block of elements that tensors are views of.
type storage struct {
	dtype string
	elems uint64
	data  []byte // nil until it is found
	root  *storage
	off   uint64 // of a view into root, in elements
}

// tensor is a view of a storage.
type tensor struct {
	of     *storage
	offset uint64
	shape  engine.Shape
	stride []uint64
}

var storageTypes = map[string]string{
	"FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
	"LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
	"ByteStorage": "U8", "BoolStorage": "BOOL",
}

// reduce makes the values that checkpoints are made of, and inert objects of
// everything else.
func reduce(f *global, args any) (any, error) {
	list, _ := args.(*tuple)
	switch f.String() {
	case "collections.OrderedDict", "builtins.dict", "__builtin__.dict":
		d := &dict{}
		if list != nil && len(list.items) > 0 {
			return d, d.pairs(list.items[0])
		}
		return d, nil
	case "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor":
		if list == nil || len(list.items) < 4 {
			return nil, errors.New("a tensor without storage, offset, size and stride")
		}
		return newTensor(list.items)
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state", "torch.nn.parameter.Parameter":
		if list == nil || len(list.items) == 0 {
			return nil, errors.New("a parameter without a tensor")
		}
		return list.items[0], nil
	}
	if f.module == "torch._utils" && strings.HasPrefix(f.name, "_rebuild_") {
		return nil, fmt.Errorf("%v: this kind of tensor is not read", f)
	}
	return &object{class: f, args: args}, nil
}

// pairs adds a list of pairs, as OrderedDict's old pickles give them.
func (d *dict) pairs(v any) error {
	l, ok := v.(*list)
	if !ok {
		return errors.New("a dictionary made of something that is no list")
	}
	for _, item := range l.items {
		var pair []any
		switch item := item.(type) {
		case *tuple:
			pair = item.items
		case *list:
			pair = item.items
		}
		if len(pair) != 2 {
			return errors.New("a dictionary's item that is no pair")
		}
		if err := d.add(pair); err != nil {
			return err
		}
	}
	return nil
}

func newTensor(args []any) (*tensor, error) {
	st, ok := args[0].(*storage)
	if !ok {
		return nil, errors.New("a tensor whose storage is none")
	}
	offset, ok := args[1].(int64)
	if !ok || offset < 0 {
		return nil, fmt.Errorf("a tensor at offset %v", args[1])
	}
	size, ok1 := sizes(args[2])
	stride, ok2 := sizes(args[3])
	if !ok1 || !ok2 || len(size) != len(stride) || len(size) > 16 {
		return nil, errors.New("a tensor with a wrong size or stride")
	}
	t := &tensor{of: st, offset: uint64(offset), stride: stride}
	// The last element read has to lie in the storage.
	last, empty, over := t.offset, false, false
	for i, n := range size {
		if n > 1<<62 || int(n) < 0 {
			return nil, fmt.Errorf("a tensor with a dimension of %d", n)
		}
		t.shape = append(t.shape, int(n))
		if n == 0 {
			empty = true
			continue
		}
		hi, lo := bits.Mul64(n-1, stride[i])
		var carry uint64
		last, carry = bits.Add64(last, lo, 0)
		over = over || hi != 0 || carry != 0
	}
	bytes, ok := safetensors.Size(st.dtype, t.shape)
	if !ok || !empty && (over || last >= st.elems) {
		return nil, fmt.Errorf("a tensor of %v with strides %v at %d reaches over its storage of %d elements", t.shape, stride, offset, st.elems)
	}
	if uint64(bytes/safetensors.Width(st.dtype)) > st.elems {
		return nil, fmt.Errorf("a tensor of %v repeats its storage of %d elements", t.shape, st.elems)
	}
	return t, nil
}

func sizes(v any) ([]uint64, bool) {
	var items []any
	switch v := v.(type) {
	case *tuple:
		items = v.items
	case *list:
		items = v.items
	case *object: // torch.Size(...), and TorchScript's build_intlist([...])
		args, ok := v.args.(*tuple)
		if !ok || len(args.items) != 1 {
			return nil, false
		}
		switch a := args.items[0].(type) {
		case *tuple:
			items = a.items
		case *list:
			items = a.items
		default:
			return nil, false
		}
	default:
		return nil, false
	}
	if len(items) > 64 {
		return nil, false
	}
	out := make([]uint64, len(items))
	for i, item := range items {
		n, ok := item.(int64)
		if !ok || n < 0 {
			return nil, false
		}
		out[i] = uint64(n)
	}
	return out, true
}

// storages keeps what the persistent ids of a pickle name.
type storages map[string]*storage

// load answers ("storage", type, key, location, elements[, view]).
func (s storages) load(id any) (any, error) {
	t, ok := id.(*tuple)
	if !ok || len(t.items) < 5 || t.items[0] != any("storage") {
		return nil, errors.New("a persistent value that is no storage")
	}
	class, ok := t.items[1].(*global)
	if !ok {
		return nil, errors.New("a storage without a type")
	}
	dtype := storageTypes[class.name]
	if dtype == "" || class.module != "torch" && class.module != "torch.storage" {
		return nil, fmt.Errorf("a storage of %v, which is not read", class)
	}
	var key string
	switch k := t.items[2].(type) {
	case string:
		key = k
	case int64:
		key = strconv.FormatInt(k, 10)
	default:
		return nil, errors.New("a storage without a key")
	}
	elems, ok := t.items[4].(int64)
	if !ok || elems < 0 {
		return nil, fmt.Errorf("storage %s: %v elements", key, t.items[4])
	}
	root := s[key]
	if root == nil {
		root = &storage{dtype: dtype, elems: uint64(elems)}
		s[key] = root
	}
	if root.dtype != dtype || root.elems != uint64(elems) {
		return nil, fmt.Errorf("storage %s is first %d elements of %s, then %d of %s", key, root.elems, root.dtype, elems, dtype)
	}
	// Legacy files have views of storages: (key, offset, elements).
	if len(t.items) > 5 && t.items[5] != nil {
		view, ok := t.items[5].(*tuple)
		if !ok || len(view.items) != 3 {
			return nil, fmt.Errorf("storage %s: a view that is none", key)
		}
		off, ok1 := view.items[1].(int64)
		n, ok2 := view.items[2].(int64)
		if !ok1 || !ok2 || off < 0 || n < 0 || off > elems || n > elems-off {
			return nil, fmt.Errorf("storage %s: a view outside of it", key)
		}
		return &storage{dtype: dtype, elems: uint64(n), root: root, off: uint64(off)}, nil
	}
	return root, nil
}

// fill gives a storage its bytes.
func (st *storage) fill(key string, data []byte) error {
	over, size := bits.Mul64(st.elems, uint64(safetensors.Width(st.dtype)))
	if over != 0 || size != uint64(len(data)) {
		return fmt.Errorf("storage %s: %d elements of %s, the file has %d bytes", key, st.elems, st.dtype, len(data))
	}
	st.data = data
	return nil
}

func (st *storage) bytes() []byte {
	if st.root == nil {
		return st.data
	}
	w := uint64(safetensors.Width(st.dtype))
	if st.root.data == nil {
		return nil
	}
	return st.root.data[st.off*w : (st.off+st.elems)*w]
}

// parseZip reads name/data.pkl and the storages name/data/0, 1, ...
func parseZip(data []byte) (any, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("zip: %w (a truncated file?)", err)
	}
	files := map[string]*zip.File{}
	var root string
	found := 0
	for _, f := range z.File {
		files[f.Name] = f
		if path.Base(f.Name) == "data.pkl" && strings.Count(f.Name, "/") <= 1 {
			root = strings.TrimSuffix(f.Name, "data.pkl")
			found++
		}
	}
	if found != 1 {
		return nil, fmt.Errorf("zip: %d files data.pkl, want 1: not a checkpoint of torch", found)
	}
	read := func(name string) ([]byte, error) {
		f := files[name]
		if f == nil {
			return nil, fmt.Errorf("zip: no file %s", name)
		}
		off, err := f.DataOffset()
		if err != nil {
			return nil, fmt.Errorf("zip: %s: %w", name, err)
		}
		if f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64 {
			return nil, fmt.Errorf("zip: %s is compressed, which torch never does", name)
		}
		if off < 0 || off > int64(len(data)) || f.UncompressedSize64 > uint64(int64(len(data))-off) {
			return nil, fmt.Errorf("zip: %s reaches over the end of the file", name)
		}
		end := off + int64(f.UncompressedSize64)
		return data[off:end:end], nil
	}
	if order, err := read(root + "byteorder"); err == nil && string(order) != "little" {
		return nil, fmt.Errorf("zip: byte order %q, only little is read", order)
	}
	pkl, err := read(root + "data.pkl")
	if err != nil {
		return nil, err
	}
	stores := storages{}
	m := &machine{data: pkl, persistent: stores.load, reduce: reduce}
	v, err := m.run()
	if err != nil {
		return nil, fmt.Errorf("data.pkl: %w", err)
	}
	for _, key := range stores.keys() {
		b, err := read(root + "data/" + key)
		if err != nil {
			return nil, err
		}
		if err := stores[key].fill(key, b); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (s storages) keys() []string {
	keys := make([]string, 0, len(s))
	for k := range s {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// legacyMagic is torch's 0x1950a86a20f9469cfc6c.
const legacyMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

// parseLegacy reads torch's format before 1.6: pickles of a magic number, a
// version, the machine's facts, the value and the storages' keys; then, by key,
// the number of elements and the elements.
func parseLegacy(data []byte) (any, error) {
	stores := storages{}
	m := &machine{data: data, persistent: stores.load, reduce: reduce}
	var vals [5]any
	for i, what := range []string{"magic number", "version", "system", "value", "storage keys"} {
		v, err := m.run()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		if i == 0 {
			if magic, ok := v.(raw); !ok || string(magic) != legacyMagic {
				return nil, errors.New("a pickle, but not of torch.save: no magic number")
			}
		}
		vals[i] = v
	}
	if vals[1] != any(int64(1001)) {
		return nil, fmt.Errorf("version %v, want 1001", vals[1])
	}
	if sys, ok := vals[2].(*dict); ok && sys.get("little_endian") == any(false) {
		return nil, errors.New("a big-endian file, only little-endian ones are read")
	}
	keys, ok := vals[4].(*list)
	if !ok {
		return nil, errors.New("storage keys: not a list")
	}
	for _, k := range keys.items {
		key, ok := k.(string)
		if !ok {
			return nil, errors.New("storage keys: not strings")
		}
		st := stores[key]
		if st == nil {
			return nil, fmt.Errorf("storage %s is in the file and in no tensor", key)
		}
		head, err := m.take(8)
		if err != nil {
			return nil, fmt.Errorf("storage %s: the file ends early", key)
		}
		n := binary.LittleEndian.Uint64(head)
		if n != st.elems {
			return nil, fmt.Errorf("storage %s: %d elements, its tensors say %d", key, n, st.elems)
		}
		over, size := bits.Mul64(n, uint64(safetensors.Width(st.dtype)))
		if over != 0 {
			return nil, fmt.Errorf("storage %s: %d elements overflow", key, n)
		}
		b, err := m.take(size)
		if err != nil {
			return nil, fmt.Errorf("storage %s: the file ends early", key)
		}
		if err := st.fill(key, b); err != nil {
			return nil, err
		}
	}
	for _, key := range stores.keys() {
		if st := stores[key]; st.data == nil && st.elems > 0 {
			return nil, fmt.Errorf("storage %s is in no list of keys", key)
		}
	}
	return vals[3], nil
}

// wrappers are the keys that training scripts keep a state dict under.
var wrappers = []string{"state_dict", "model_state_dict", "model", "module", "params", "net", "string_to_param"}

// collect finds the state dict in the value of a checkpoint.
func collect(v any, fileSize int) ([]safetensors.Tensor, error) {
	c := &collector{budget: uint64(fileSize), seen: map[string]int{}}
	if o, ok := v.(*object); ok && strings.HasPrefix(o.class.module, "__torch__") {
		c.steps = fileSize
		if err := c.module("", o, 0); err != nil {
			return nil, err
		}
		return c.tensors, nil
	}
	if t, ok := v.(*tensor); ok {
		err := c.add("", t)
		return c.tensors, err
	}
	d := unwrap(v, 4)
	if d == nil {
		return nil, errors.New("the checkpoint has no dictionary of tensors (a whole module was saved? save its state_dict)")
	}
	for i, k := range d.keys {
		if name, ok := k.(string); ok {
			if t, ok := d.vals[i].(*tensor); ok {
				if err := c.add(name, t); err != nil {
					return nil, err
				}
			}
		}
	}
	return c.tensors, nil
}

// unwrap finds the dictionary that has tensors: this one, or one of those
// inside under a wrapper's key.
func unwrap(v any, depth int) *dict {
	if o, ok := v.(*object); ok && o.class.String() == "torch.nn.modules.container.ParameterDict" {
		if state, ok := o.state.(*dict); ok {
			v = state.get("_parameters")
		}
	}
	d, ok := v.(*dict)
	if !ok || depth == 0 {
		return nil
	}
	for _, key := range wrappers {
		if inner := unwrap(d.get(key), depth-1); inner != nil {
			return inner
		}
	}
	for _, v := range d.vals {
		if _, ok := v.(*tensor); ok {
			return d
		}
	}
	return nil
}

type collector struct {
	tensors []safetensors.Tensor
	seen    map[string]int
	budget  uint64 // bytes that may still be copied
	steps   int    // bytes of names that may still be made of modules
}

// module walks the attributes of a TorchScript module.
func (c *collector) module(prefix string, o *object, depth int) error {
	attrs, _ := o.state.(*dict)
	if attrs == nil {
		return nil
	}
	if depth > 32 {
		return errors.New("modules are nested too deep")
	}
	for i, k := range attrs.keys {
		name, ok := k.(string)
		if !ok {
			continue
		}
		if c.steps -= 1 + len(prefix) + len(name); c.steps < 0 {
			return errors.New("modules contain each other")
		}
		switch v := attrs.vals[i].(type) {
		case *tensor:
			if err := c.add(prefix+name, v); err != nil {
				return err
			}
		case *object:
			if err := c.module(prefix+name+".", v, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *collector) add(name string, t *tensor) error {
	data, err := c.data(t)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	e := safetensors.Tensor{Name: name, DType: t.of.dtype, Shape: t.shape, Data: data}
	if at, twice := c.seen[name]; twice {
		c.tensors[at] = e
		return nil
	}
	c.seen[name] = len(c.tensors)
	c.tensors = append(c.tensors, e)
	return nil
}

// data are a tensor's bytes in row-major order.
func (c *collector) data(t *tensor) ([]byte, error) {
	w := uint64(safetensors.Width(t.of.dtype))
	size, _ := safetensors.Size(t.of.dtype, t.shape)
	if size == 0 {
		return nil, nil
	}
	src := t.of.bytes()
	if contiguous(t.shape, t.stride) {
		return src[t.offset*w : t.offset*w+uint64(size) : t.offset*w+uint64(size)], nil
	}
	if uint64(size) > c.budget {
		return nil, errors.New("views that are not contiguous copy more than the file holds")
	}
	c.budget -= uint64(size)
	out := make([]byte, 0, size)
	index := make([]int, len(t.shape))
	at := t.offset
	for {
		out = append(out, src[at*w:at*w+w]...)
		i := len(index) - 1
		for ; i >= 0; i-- {
			index[i]++
			at += t.stride[i]
			if index[i] < t.shape[i] {
				break
			}
			at -= t.stride[i] * uint64(t.shape[i])
			index[i] = 0
		}
		if i < 0 {
			return out, nil
		}
	}
}

func contiguous(shape engine.Shape, stride []uint64) bool {
	want := uint64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] != 1 && stride[i] != want {
			return false
		}
		want *= uint64(shape[i])
	}
	return true
}
