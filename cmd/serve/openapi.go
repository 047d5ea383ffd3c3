package serve

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
)

// operation describes a route. body is a zero value of a Go type, whose JSON is
// the schema; nil is any JSON.
type operation struct {
	pattern, tag, summary string
	body                  any
	form                  []string // fields of a form; those that begin with @ are files
	mime                  string   // of an answer that is no JSON
	events                bool     // with "stream" the answer is a stream of events
	async                 bool     // with "Prefer: respond-async" it is a job
}

// pixel is a picture of one, for examples.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP438AAAAQBAYD718vxAAAAAElFTkSuQmCC"

// examples are bodies that are answered as they stand, by path.
func examples() map[string]object {
	return map[string]object{
		"/v1/images/generations": {"prompt": "two red apples on the grass", "n": 2, "seed": 7, "steps": 8, "response_format": "b64_json"},
		"/v1/embeddings":         {"input": []any{"two red apples", object{"image": pixel}}},
		"/v1/caption":            {"image": pixel, "k": 3, "seed": 7},
		"/v1/score":              {"images": []string{pixel}, "texts": []string{"two red apples", "a dog at night"}},
		"/v1/reconstruct":        {"text": "two red apples on the grass", "k": 2, "seed": 7, "steps": 4},
		"/sdapi/v1/txt2img":      {"prompt": "two red apples on the grass", "seed": 7, "steps": 8, "sampler_name": "Euler a"},
		"/sdapi/v1/img2img": {"prompt": "two red apples on the grass", "init_images": []string{pixel}, "mask": pixel,
			"denoising_strength": 0.75, "steps": 8, "width": 64, "height": 64},
		"/sdapi/v1/interrogate": {"image": pixel, "model": "clip"},
		"/sdapi/v1/options":     {"CLIP_stop_at_last_layers": 1},
		"/sdapi/v1/png-info":    {"image": pixel},
	}
}

// operations are all routes but the page's. What AUTOMATIC1111's clients read of the many
// lists is in its own documentation.
func operations() []operation {
	type text = map[string]string
	generationForm := append([]string{"@image", "@mask", "prompt", "quality", "background", "stream", "partial_images", "input_fidelity"},
		formFields...)
	list := []operation{
		{pattern: "GET /v1/models", tag: "OpenAI", summary: "The models that are loaded"},
		{pattern: "POST /v1/images/generations", tag: "OpenAI", summary: "Draw a text", body: generation{}, events: true, async: true},
		{pattern: "POST /v1/images/edits", tag: "OpenAI", summary: "Draw a text from a picture on", form: generationForm,
			events: true, async: true},
		{pattern: "POST /v1/images/variations", tag: "OpenAI", summary: "Draw what BLIP says of a picture, from the picture on",
			form: append([]string{"@image"}, formFields...), async: true},
		{pattern: "POST /v1/embeddings", tag: "OpenAI", summary: "CLIP's embeddings of texts and pictures", body: embeddingsRequest{},
			async: true},
		{pattern: "GET /v1/files/{name}", tag: "OpenAI", summary: "A picture of an answer, for an hour", mime: "image/png"},
		{pattern: "POST /v1/caption", tag: "Parley", summary: "Describe a picture", body: captionRequest{}, async: true},
		{pattern: "POST /v1/score", tag: "Parley", summary: "Cosines of pictures and texts, a row for each picture", body: scoreRequest{},
			async: true},
		{pattern: "POST /v1/reconstruct", tag: "Parley", summary: "Let captions and drawings choose each other", body: reconstruction{},
			events: true, async: true},
		{pattern: "GET /v1/jobs", tag: "Parley", summary: "The jobs that are kept, the newest first"},
		{pattern: "GET /v1/jobs/{id}", tag: "Parley", summary: "A job and its result"},
		{pattern: "DELETE /v1/jobs/{id}", tag: "Parley", summary: "Cancel a job"},
		{pattern: "POST /sdapi/v1/txt2img", tag: "AUTOMATIC1111", summary: "Draw a text", body: webRequest{}},
		{pattern: "POST /sdapi/v1/img2img", tag: "AUTOMATIC1111", summary: "Draw a text from a picture on", body: webRequest{}},
		{pattern: "POST /sdapi/v1/interrogate", tag: "AUTOMATIC1111", summary: "Describe a picture", body: text{}},
		{pattern: "POST /sdapi/v1/options", tag: "AUTOMATIC1111", summary: "Take what changes nothing, refuse the rest by name",
			body: map[string]any{}},
		{pattern: "POST /sdapi/v1/png-info", tag: "AUTOMATIC1111", summary: "How a PNG was drawn", body: text{}},
		{pattern: "GET /ping", tag: "Immich", summary: "pong", mime: "text/plain"},
		{pattern: "POST /predict", tag: "Immich", summary: "CLIP's embedding of a picture or a text",
			form: []string{"entries", "text", "@image"}},
		{pattern: "GET /healthz", tag: "Operations", summary: "The process answers", mime: "text/plain"},
		{pattern: "GET /readyz", tag: "Operations", summary: "The server takes work", mime: "text/plain"},
		{pattern: "GET /metrics", tag: "Operations", summary: "Prometheus' metrics", mime: "text/plain"},
		{pattern: "GET /openapi.json", tag: "Operations", summary: "This description"},
	}
	for _, path := range webGets {
		list = append(list, operation{pattern: "GET /sdapi/v1/" + path, tag: "AUTOMATIC1111", summary: "As its clients ask for it"})
	}
	for _, path := range webPosts {
		list = append(list, operation{pattern: "POST /sdapi/v1/" + path, tag: "AUTOMATIC1111", summary: "As its clients ask for it"})
	}
	return list
}

// webGets and webPosts are routes of AUTOMATIC1111's without a body that matters.
var (
	webGets = []string{"progress", "options", "memory", "samplers", "schedulers", "sd-models", "cmd-flags", "embeddings", "scripts", "sd-vae",
		"sd-modules", "upscalers", "latent-upscale-modes", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles",
		"script-info", "loras"}
	webPosts = []string{"interrupt", "skip", "refresh-checkpoints", "refresh-vae", "refresh-loras"}
)

// openAPI serves the description (OpenAPI 3.1).
func (s *Server) openAPI() {
	s.handle("GET /openapi.json", func(*http.Request) (any, error) { return description(s.o.Version), nil })
}

type object = map[string]any

func description(version string) object {
	paths, shown := object{}, examples()
	for _, o := range operations() {
		method, path, _ := strings.Cut(o.pattern, " ")
		item, ok := paths[path].(object)
		if !ok {
			item = object{}
			paths[path] = item
		}
		mime := o.mime
		answer := object{"schema": object{}}
		if mime == "" {
			mime = "application/json"
		} else {
			answer["schema"] = object{"type": "string"}
		}
		content := object{mime: answer}
		if o.events {
			content["text/event-stream"] = object{"schema": object{"type": "string"}}
		}
		fails := object{"description": "An error, with what would be right",
			"content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Error"}}}}
		op := object{"summary": o.summary, "tags": []string{o.tag}, "operationId": id(method, path),
			"responses": object{"200": object{"description": "Done", "content": content}, "default": fails}}
		var parameters []object
		for _, part := range strings.Split(path, "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok {
				parameters = append(parameters, object{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true,
					"schema": object{"type": "string"}})
			}
		}
		if o.async {
			parameters = append(parameters, object{"name": "Prefer", "in": "header", "schema": object{"type": "string"},
				"description": "respond-async answers at once with a job"})
			op["responses"].(object)["202"] = object{"description": "A job that runs, with its address", "headers": object{"Location": object{
				"schema": object{"type": "string"}}}, "content": object{"application/json": object{"schema": object{}}}}
		}
		if parameters != nil {
			op["parameters"] = parameters
		}
		if o.body != nil {
			body := object{"schema": schema(reflect.TypeOf(o.body))}
			if e, ok := shown[path]; ok {
				body["example"] = e
			}
			op["requestBody"] = object{"required": true, "content": object{"application/json": body}}
		}
		if o.form != nil {
			fields := object{}
			for _, f := range o.form {
				if name, ok := strings.CutPrefix(f, "@"); ok {
					fields[name] = object{"type": "string", "contentMediaType": "application/octet-stream"}
				} else {
					fields[f] = object{"type": "string"}
				}
			}
			op["requestBody"] = object{"required": true, "content": object{"multipart/form-data": object{"schema": object{"type": "object",
				"properties": fields}}}}
		}
		item[strings.ToLower(method)] = op
	}
	return object{
		"openapi": "3.1.0",
		"info": object{"title": "Parley", "version": version,
			"description": "Captions, drawings, embeddings, and the reconstructions in which they choose each other."},
		"paths": paths,
		"components": object{
			"schemas": object{"Error": object{"type": "object", "properties": object{"error": object{"type": "object", "properties": object{
				"message": object{"type": "string"}, "type": object{"type": "string"}, "param": object{"type": []string{"string",
					"null"}}, "code": object{"type": "string"}}}}}},
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}, "basic": object{"type": "http", "scheme": "basic"}},
		},
		"security": []object{{}, {"bearer": []string{}}, {"basic": []string{}}},
	}
}

// id is an operation's name: "post_v1_images_generations".
func id(method, path string) string {
	return strings.ToLower(method) + strings.NewReplacer("/", "_", "-", "_", "{", "", "}", "", ".", "_").Replace(path)
}

// schema is JSON Schema of a type.
func schema(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Pointer:
		return schema(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		if t == reflect.TypeFor[json.RawMessage]() {
			return object{}
		}
		return object{"type": "array", "items": schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schema(t.Elem())}
	case reflect.Struct:
		fields := object{}
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields[name] = schema(f.Type)
		}
		return object{"type": "object", "properties": fields, "additionalProperties": false}
	}
	return object{}
}
