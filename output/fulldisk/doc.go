// Package fulldisk gives a test a small disk of its own to fill.
package fulldisk
