package layer

import "fmt"

// HeadsError says that a width does not divide among the heads.
type HeadsError struct {
	Layer        string
	Width, Heads int
}

func (e *HeadsError) Error() string {
	return fmt.Sprintf("%s: a width of %d does not divide among %d heads", e.Layer, e.Width, e.Heads)
}

// ShapeError says that an input does not fit a net.
type ShapeError struct {
	Net, Input string
	Have       fmt.Stringer
	Want       string
}

func (e *ShapeError) Error() string {
	return fmt.Sprintf("%s: %s has shape %v, want %s", e.Net, e.Input, e.Have, e.Want)
}
