package layout

func rowsOnHost(x, y []float32, n, at, stride int) {
	width := len(y) / n
	for i := range n {
		copy(y[i*width:(i+1)*width], x[at+i*stride:])
	}
}

// transpose swaps the last two of [n, rows, cols].
func transpose(dst, src []float32, n, rows, cols int) {
	for b := range n {
		d, s := dst[b*rows*cols:], src[b*rows*cols:]
		for i := range rows {
			for j := range cols {
				d[j*rows+i] = s[i*cols+j]
			}
		}
	}
}
