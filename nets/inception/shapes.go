package inception

import (
	"parley/kernels/conv"
	"parley/kernels/pool"
)

// shape is a convolution by its name.
type shape struct {
	name        string
	out, kh, kw int
	stride      int // 0: 1
	pad         conv.Pad
}

// same keeps a map's size.
func same(name string, out, kh, kw int) shape {
	return shape{name: name, out: out, kh: kh, kw: kw, pad: conv.Pad{Top: kh / 2, Bottom: kh / 2, Left: kw / 2, Right: kw / 2}}
}

// inside are 3 x 3 filters that stay inside of the map.
func inside(name string, out, stride int) shape {
	return shape{name: name, out: out, kh: 3, kw: 3, stride: stride}
}

type stemShape struct {
	shape
	pool pool.Window
}

func stem() []stemShape {
	halves := pool.Window{H: 3, W: 3, Stride: 2}
	return []stemShape{{inside("Conv2d_1a_3x3", 32, 2), pool.Window{}}, {inside("Conv2d_2a_3x3", 32, 1), pool.Window{}},
		{same("Conv2d_2b_3x3", 64, 3, 3), halves},
		{same("Conv2d_3b_1x1", 80, 1, 1), pool.Window{}}, {inside("Conv2d_4a_3x3", 192, 1), halves}}
}

type blockShape struct {
	name     string
	branches []branchShape
}

type branchShape struct {
	pool        kind
	chain, ends []shape
}

func blocks() []blockShape {
	return []blockShape{blockA("Mixed_5b", 32), blockA("Mixed_5c", 64), blockA("Mixed_5d", 64), blockB("Mixed_6a"),
		blockC("Mixed_6b", 128), blockC("Mixed_6c", 160), blockC("Mixed_6d", 160), blockC("Mixed_6e", 192), blockD("Mixed_7a"),
		blockE("Mixed_7b", average), blockE("Mixed_7c", largest)}
}

// The blocks are called as torchvision's classes: InceptionA to InceptionE.

func blockA(name string, pooled int) blockShape {
	return blockShape{name, []branchShape{
		{chain: []shape{same("branch1x1", 64, 1, 1)}},
		{chain: []shape{same("branch5x5_1", 48, 1, 1), same("branch5x5_2", 64, 5, 5)}},
		{chain: []shape{same("branch3x3dbl_1", 64, 1, 1), same("branch3x3dbl_2", 96, 3, 3), same("branch3x3dbl_3", 96, 3, 3)}},
		{pool: average, chain: []shape{same("branch_pool", pooled, 1, 1)}}}}
}

func blockB(name string) blockShape {
	return blockShape{name, []branchShape{
		{chain: []shape{inside("branch3x3", 384, 2)}},
		{chain: []shape{same("branch3x3dbl_1", 64, 1, 1), same("branch3x3dbl_2", 96, 3, 3), inside("branch3x3dbl_3", 96, 2)}},
		{pool: halve}}}
}

func blockC(name string, c int) blockShape {
	return blockShape{name, []branchShape{
		{chain: []shape{same("branch1x1", 192, 1, 1)}},
		{chain: []shape{same("branch7x7_1", c, 1, 1), same("branch7x7_2", c, 1, 7), same("branch7x7_3", 192, 7, 1)}},
		{chain: []shape{same("branch7x7dbl_1", c, 1, 1), same("branch7x7dbl_2", c, 7, 1), same("branch7x7dbl_3", c, 1, 7),
			same("branch7x7dbl_4", c, 7, 1), same("branch7x7dbl_5", 192, 1, 7)}},
		{pool: average, chain: []shape{same("branch_pool", 192, 1, 1)}}}}
}

func blockD(name string) blockShape {
	return blockShape{name, []branchShape{
		{chain: []shape{same("branch3x3_1", 192, 1, 1), inside("branch3x3_2", 320, 2)}},
		{chain: []shape{same("branch7x7x3_1", 192, 1, 1), same("branch7x7x3_2", 192, 1, 7), same("branch7x7x3_3", 192, 7, 1),
			inside("branch7x7x3_4", 192, 2)}},
		{pool: halve}}}
}

func blockE(name string, pooling kind) blockShape {
	return blockShape{name, []branchShape{
		{chain: []shape{same("branch1x1", 320, 1, 1)}},
		{chain: []shape{same("branch3x3_1", 384, 1, 1)}, ends: []shape{same("branch3x3_2a", 384, 1, 3), same("branch3x3_2b", 384, 3, 1)}},
		{chain: []shape{same("branch3x3dbl_1", 448, 1, 1), same("branch3x3dbl_2", 384, 3, 3)},
			ends: []shape{same("branch3x3dbl_3a", 384, 1, 3), same("branch3x3dbl_3b", 384, 3, 1)}},
		{pool: pooling, chain: []shape{same("branch_pool", 192, 1, 1)}}}}
}
