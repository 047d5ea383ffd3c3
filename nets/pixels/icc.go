package pixels

import (
	"fmt"

	"parley/nets/pixels/lcms"
)

// toSRGB is a raster's colours by its ICC profile: red, green and blue.
func toSRGB(icc []byte, r *raster) ([]uint8, error) {
	rgb, err := lcms.SRGB(icc, r.pix, r.n)
	if err != nil {
		return nil, fmt.Errorf("its ICC profile: %w", err)
	}
	return rgb, nil
}
