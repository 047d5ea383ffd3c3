package score

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Features are the mean and the covariance of feature vectors, gathered batch
// by batch.
type Features struct {
	n       int
	mean    *mat.VecDense
	scatter *mat.SymDense // of what is off the mean: [D, D]
	rows    []float64     // that AddRow has gathered
}

// gathered is how many rows AddRow takes in at a time.
const gathered = 64

// NewFeatures gathers vectors of d values.
func NewFeatures(d int) *Features {
	return &Features{mean: mat.NewVecDense(d, nil), scatter: mat.NewSymDense(d, nil)}
}

// Width is how many values a vector has.
func (f *Features) Width() int { return f.mean.Len() }

// AddRow takes one vector in, with others at a time.
func (f *Features) AddRow(x []float32) error {
	if len(x) != f.mean.Len() {
		return fmt.Errorf("features of %d values, want %d", len(x), f.mean.Len())
	}
	for _, v := range x {
		f.rows = append(f.rows, float64(v))
	}
	if len(f.rows) < gathered*len(x) {
		return nil
	}
	return f.flush()
}

// flush takes in what AddRow has gathered.
func (f *Features) flush() error {
	rows, d := f.rows, f.mean.Len()
	if len(rows) == 0 {
		return nil
	}
	f.rows = f.rows[:0]
	return f.Add(mat.NewDense(len(rows)/d, d, rows))
}

// Add takes the rows of x, [N, D], in (Chan et al., "Updating formulae and a
// pairwise algorithm for computing sample variances", 1979).
func (f *Features) Add(x mat.Matrix) error {
	n, d := x.Dims()
	if d != f.mean.Len() {
		return fmt.Errorf("features of %d values, want %d", d, f.mean.Len())
	}
	own := mat.NewVecDense(d, nil)
	off := mat.DenseCopyOf(x)
	for i := range n {
		own.AddVec(own, off.RowView(i))
	}
	own.ScaleVec(1/float64(n), own)
	for i := range n {
		row := off.RawRowView(i)
		for j := range row {
			if math.IsNaN(row[j]) || math.IsInf(row[j], 0) {
				return fmt.Errorf("feature %d of vector %d is not finite", j, f.n+i)
			}
			row[j] -= own.AtVec(j)
		}
	}
	var scatter mat.SymDense
	scatter.SymOuterK(1, off.T())
	f.scatter.AddSym(f.scatter, &scatter)
	own.SubVec(own, f.mean) // from the mean so far to the batch's
	total := float64(f.n + n)
	f.scatter.SymRankOne(f.scatter, float64(f.n)*float64(n)/total, own)
	f.mean.AddScaledVec(f.mean, float64(n)/total, own)
	f.n += n
	return nil
}

// FullRank reports whether the covariance of n vectors of d values can have an inverse:
// they lie in a space of n-1 dimensions about their mean.
func FullRank(n, d int) bool { return n > d }

// covariance is the unbiased one, as numpy.cov's.
func (f *Features) covariance() *mat.SymDense {
	var c mat.SymDense
	c.ScaleSym(1/float64(f.n-1), f.scatter)
	return &c
}

// FID is the squared Fréchet distance of the Gaussians with the means and the
// covariances of a and b (Heusel et al., arXiv 1706.08500):
// |m1-m2|² + tr(C1 + C2 - 2 (C1 C2)^½). On the pool features of Inception v3, of
// 2048 values, it is the FID of papers.
func FID(a, b *Features) (float64, error) {
	if a.mean.Len() != b.mean.Len() {
		return 0, fmt.Errorf("features of %d and %d values", a.mean.Len(), b.mean.Len())
	}
	if err := errors.Join(a.flush(), b.flush()); err != nil {
		return 0, err
	}
	if a.n < 2 || b.n < 2 {
		return 0, fmt.Errorf("%d and %d vectors: two at least are needed for a covariance", a.n, b.n)
	}
	var off mat.VecDense
	off.SubVec(a.mean, b.mean)
	ca, cb := a.covariance(), b.covariance()
	// C1 is RᵀR; the eigenvalues of C1 C2 are those of the symmetric R C2 Rᵀ, and 0 for
	// what R has fewer rows. So no eigenvectors are needed, and rounding makes nothing
	// complex.
	r := factor(ca)
	var half, product mat.Dense
	half.Mul(r, mat.DenseCopyOf(cb)) // gonum multiplies dense matrices in blocks
	product.Mul(&half, r.T())
	rank, _ := r.Dims()
	sym := mat.NewSymDense(rank, nil)
	for i := range rank {
		for j := i; j < rank; j++ {
			sym.SetSym(i, j, (product.At(i, j)+product.At(j, i))/2)
		}
	}
	var e mat.EigenSym
	if !e.Factorize(sym, false) {
		return 0, fmt.Errorf("FID: the eigenvalues do not converge")
	}
	sum := 0.0
	for _, v := range e.Values(nil) {
		sum += math.Sqrt(max(v, 0))
	}
	return mat.Dot(&off, &off) + mat.Trace(ca) + mat.Trace(cb) - 2*sum, nil
}

// factor is R of a covariance RᵀR, with as many rows as it has rank: fewer than
// columns where there were fewer vectors.
func factor(c *mat.SymDense) *mat.Dense {
	var f mat.PivotedCholesky
	f.Factorize(c, -1)
	d, rank := c.SymmetricDim(), max(f.Rank(), 1)
	var u mat.TriDense
	f.UTo(&u)
	r := mat.NewDense(rank, d, nil)
	for j, p := range f.ColumnPivots(nil) {
		for i := range min(rank, j+1) {
			r.Set(i, p, u.At(i, j))
		}
	}
	return r
}
