package serve

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed page
var pageFiles embed.FS

// page registers what a browser shows.
func (s *Server) page() {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil { // it is embedded
		panic(err)
	}
	names, err := fs.ReadDir(files, ".")
	if err != nil {
		panic(err)
	}
	static := http.FileServerFS(files)
	show := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy",
			"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "+
				"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		static.ServeHTTP(w, r)
	}
	s.mux.HandleFunc("GET /{$}", show)
	for _, f := range names {
		s.mux.HandleFunc("GET /"+f.Name(), show)
	}
}
