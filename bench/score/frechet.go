package score

import (
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
}

// NewFeatures gathers vectors of d values.
func NewFeatures(d int) *Features {
	return &Features{mean: mat.NewVecDense(d, nil), scatter: mat.NewSymDense(d, nil)}
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
	if a.n < 2 || b.n < 2 {
		return 0, fmt.Errorf("%d and %d vectors: two at least are needed for a covariance", a.n, b.n)
	}
	var off mat.VecDense
	off.SubVec(a.mean, b.mean)
	ca, cb := a.covariance(), b.covariance()
	// The roots of the eigenvalues of C1 C2 are those of the symmetric
	// C1^½ C2 C1^½, which rounding cannot make complex.
	root, err := squareRoot(ca)
	if err != nil {
		return 0, err
	}
	var half, product mat.Dense
	half.Mul(root, cb)
	product.Mul(&half, root)
	d := a.mean.Len()
	sym := mat.NewSymDense(d, nil)
	for i := range d {
		for j := i; j < d; j++ {
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

// squareRoot is the symmetric square root of a covariance.
func squareRoot(c *mat.SymDense) (*mat.Dense, error) {
	var e mat.EigenSym
	if !e.Factorize(c, true) {
		return nil, fmt.Errorf("FID: the eigenvalues do not converge")
	}
	var vectors, scaled, root mat.Dense
	e.VectorsTo(&vectors)
	values := e.Values(nil)
	scaled.Apply(func(_, j int, v float64) float64 { return v * math.Sqrt(max(values[j], 0)) }, &vectors)
	root.Mul(&scaled, vectors.T())
	return &root, nil
}
