package host

import (
	"reflect"
	"sync"
)

// Owned is the device's value of a type: what make returns, which is called once,
// when the value is first asked for. Packages that compute on the device keep there
// what they have measured of it, under types of their own. A value's maker does not
// ask for the value.
func Owned[T any](d *Device, make func() T) T {
	key := reflect.TypeFor[T]()
	v, ok := d.owned.Load(key)
	if !ok {
		v, _ = d.owned.LoadOrStore(key, sync.OnceValue(make))
	}
	return v.(func() T)()
}
