package embed

import (
	_ "embed"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("embed", image)

// threads of a block, which has a row, or a part of a long one.
const threads = 128

func blocks(rows, rowBytes int) cuda.Dim {
	return cuda.Dim{X: rows, Y: max(1, min(64, rowBytes/(16*threads)))}
}

func rowsOnCUDA(d *cuda.Device, s *engine.Stream, table, ids, y *engine.Tensor) {
	if y.Elems() == 0 {
		return
	}
	c := y.Elems() / ids.Elems()
	d.LaunchDependent(s, module, "rows_"+table.DType().String(), blocks(ids.Elems(), y.Bytes()/ids.Elems()), cuda.Dim{X: threads}, 0,
		table, ids, y, c, int64(c), int64(c))
}

func tokensOnCUDA(d *cuda.Device, s *engine.Stream, table, ids, positions, y *engine.Tensor, at int, offset *engine.Tensor) {
	if y.Elems() == 0 {
		return
	}
	d.LaunchDependent(s, module, "tokens_"+y.DType().String(), blocks(ids.Elems(), 0), cuda.Dim{X: threads}, 0,
		table, ids, positions, y, ids.Dim(1), y.Dim(-1), at, offset)
}

func patchesOnCUDA(d *cuda.Device, s *engine.Stream, patches, class, positions, y *engine.Tensor) {
	if y.Elems() == 0 {
		return
	}
	rows, c := positions.Dim(0), y.Dim(-1)
	d.LaunchDependent(s, module, "patches_"+y.DType().String(), blocks(y.Elems()/c, 0), cuda.Dim{X: threads}, 0,
		patches, class, positions, y, rows, c)
}

func appendOnCUDA(d *cuda.Device, s *engine.Stream, cache, rows *engine.Tensor, at int, offset *engine.Tensor) {
	if rows.Elems() == 0 || cache.Elems() == 0 {
		return
	}
	c, wide := cache.Dim(2), rows.Dim(2)
	from := rows.Memory()
	from.Addr += uintptr((wide - c) * rows.DType().Size())
	d.LaunchDependent(s, module, "append_"+rows.DType().String(), blocks(rows.Dim(0)*rows.Dim(1), 0), cuda.Dim{X: threads}, 0,
		engine.NewTensor(rows.DType(), from), cache, rows.Dim(1), c, wide, cache.Dim(1), at, offset)
}

func selectOnCUDA(d *cuda.Device, s *engine.Stream, cache, ids, y *engine.Tensor) {
	if y.Elems() == 0 {
		return
	}
	row, capacity := y.Elems()/ids.Elems(), cache.Dim(1)*cache.Dim(2)
	d.LaunchDependent(s, module, "rows_"+y.DType().String(), blocks(ids.Elems(), row*y.DType().Size()), cuda.Dim{X: threads}, 0,
		cache, ids, y, row, int64(capacity), int64(row))
}
