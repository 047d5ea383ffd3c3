// Package parley is the module's ground floor: it holds no code.
//
// engine has tensors, devices and streams; kernels the operations; weights what
// comes from files; nets the models, and in nets/models and nets/rerank the API
// that programs use; bench what measures; cmd the command line. Imports run one
// way, in this order.
package parley
