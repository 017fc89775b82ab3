// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/raw"
)

func TestExact(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, test := range []struct{ text, wrong string }{
		{`{}`, ""},
		{` {"a" : [ 1 , "x" , null , true , {"b":-1e9} , [ ] , { } ] , "c":"\"}" } `, ""},
		{`"\ud83d\ude00 \\ud800 \u00e9"`, ""},
		{deep(maxDepth), ""},
		{deep(maxDepth + 1), "nested deeper"},
		{deep(100_000), "no JSON"}, // the depth of encoding/json itself
		{strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1), "nested deeper"},
		{``, "no JSON"},
		{`{} {}`, "no JSON"},
		{`{"a":1,}`, "no JSON"},
		{"{\"a\":\"\n\"}", "no JSON"},
		{`NaN`, "no JSON"},
		{"\"\xff\"", "no UTF-8"},
		{"\"\xed\xa0\x80\"", "no UTF-8"},
		{`{"a":1,"a":2}`, "a is there twice"},
		{`{"a":1,"\u0061":2}`, "a is there twice"},
		{`{"x":[{"a":{"b":1,"b":1}}]}`, "x[].a.b is there twice"},
		{`{"\u001b[2J\u202e":1,"\u001b[2J\u202e":1}`, `\x1b[2J\u202e is there twice`},
		{`"\ud800"`, "half a surrogate pair"},
		{`"\udc00\ud800"`, "half a surrogate pair"},
		{`"\ud800\ud800"`, "half a surrogate pair"},
		{`"\ud800\n0000"`, "half a surrogate pair"},
		{`{"\ud800":1}`, "half a surrogate pair"},
	} {
		err := exact([]byte(test.text), nil)
		if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%.60q: %v, want %q", test.text, err, test.wrong)
		}
	}
}

func TestDecodeStrict(t *testing.T) {
	for _, test := range []struct {
		into        any
		text, wrong string
	}{
		{new(CallRef), `{"call":"c1"}`, ""},
		{new(CallRef), `{"Call":"c1"}`, "unknown field Call"},
		{new(CallRef), `{"call":"c1","approved":true}`, "unknown field approved"},
		{new(CallRef), `{"call":null}`, "call is null"},
		{new(CallRef), `{"call":7}`, "call: number does not fit"},
		{new(CallRef), `[]`, "the whole: array does not fit"},
		{new(CallRef), `null`, "the whole is null"},
		{new(Submit), `{"args":["a",{"base64":"/w=="}],"timeout":"90s","deadline":"0s","stdin":"aGk="}`, ""},
		{new(Submit), `{"args":[null]}`, "args[] is null"},
		{new(Submit), `{"args":["a",{"base64":"/w==","x":1}]}`, "want a string or"},
		{new(Submit), `{"timeout":"-1s"}`, "can't be negative"},
		{new(Submit), `{"deadline":null}`, "deadline is null"},
		{new(Submit), `{"stdin":"?"}`, "illegal base64"},
		{new(Submit), `{"decision":"allow"}`, "unknown field decision"},
		{new(approval.Answer), `{"ticket":"t","revision":1,"verdict":"allow","by":"uid 0"}`, "unknown field by"},
		{new(approval.Answer), `{"ticket":"t","revision":1.5,"verdict":"allow"}`, "revision: number 1.5 does not fit"},
		{new(Nothing), `{}`, ""},
		{new(Nothing), `{"a":1}`, "unknown field a"},
		{new(map[string]CallRef), `{"x":{"call":"1"},"y":{"call":"2","z":1}}`, "unknown field y.z"},
		{new(map[string]raw.String), `{"x":"y"}`, ""},
	} {
		err := decode([]byte(test.text), test.into)
		if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%T %s: %v, want %q", test.into, test.text, err, test.wrong)
		}
	}
}

// TestParse holds which code and which id a bad frame is answered with.
func TestParse(t *testing.T) {
	for _, test := range []struct {
		text string
		code Code
		id   string
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"m"}`, 0, "1"},
		{`{"jsonrpc":"2.0","id":"a b","method":"m","params":{},"files":3}`, 0, `"a b"`},
		{`{"jsonrpc":"2.0","id":-9,"method":"m"}`, 0, "-9"},
		{``, CodeParse, ""},
		{`{`, CodeParse, ""},
		{`{"jsonrpc":"2.0","id":1,"id":1,"method":"m"}`, CodeParse, ""},
		{`[{"jsonrpc":"2.0","id":1,"method":"m"}]`, CodeRequest, ""},
		{`1`, CodeRequest, ""},
		{`null`, CodeRequest, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"m","approved":true}`, CodeRequest, "1"},
		{`{"jsonrpc":"2.0","id":1,"Method":"m"}`, CodeRequest, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":7}`, CodeRequest, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":""}`, CodeRequest, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("m", maxMethod+1) + `"}`, CodeRequest, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"m","params":[]}`, CodeRequest, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"m","params":null}`, CodeRequest, "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"m","files":"3"}`, CodeRequest, "1"},
		{`{"jsonrpc":"1.0","id":1,"method":"m"}`, CodeRequest, "1"},
		{`{"id":1,"method":"m"}`, CodeRequest, "1"},
		{`{"jsonrpc":"2.0","method":"m"}`, CodeRequest, ""},
		{`{"jsonrpc":"2.0","id":null,"method":"m"}`, CodeRequest, ""},
		{`{"jsonrpc":"2.0","id":1.5,"method":"m"}`, CodeRequest, ""},
		{`{"jsonrpc":"2.0","id":{},"method":"m"}`, CodeRequest, ""},
		{`{"jsonrpc":"2.0","id":"` + strings.Repeat("i", maxID) + `","method":"m"}`, CodeRequest, ""},
	} {
		e, err := parse([]byte(test.text))
		if err == nil {
			err = new(Error)
		}
		if err.Code != test.code || string(e.ID) != test.id {
			t.Errorf("%s: %v %q, want %d and the id %q", test.text, err, e.ID, test.code, test.id)
		}
	}
}

// FuzzDecode compares with encoding/json: what is taken here means the same
// there, and when it is written and read again it is the same.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"call.submit","params":{"args":["ls",{"base64":"/w=="}],"timeout":"1m0s"}}`,
		`{"jsonrpc":"2.0","id":"x","method":"m","params":{"a":{"b":[1,"\ud83d\ude00"]}},"files":3}`,
		`{"args":["\ufffd"],"claim":"\u202e"}`, `{"call":"x","call":"y"}`, "\"\xff\"", `{"Call":1}`, `[[[[]]]]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if e, err := parse(text); err == nil {
			again, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parse(again); err != nil {
				t.Errorf("%q was taken, and written as %q: %v", text, again, err)
			}
			text = e.Params
		}
		for _, into := range []any{new(Submit), new(approval.Answer), new(Follow)} {
			err := decode(text, into)
			if err != nil {
				var shape misfit
				if !errors.As(err, &shape) && exact(text, nil) == nil {
					t.Errorf("%q: %v, and there is nothing wrong with it", text, err)
				}
				continue
			}
			same := reflect.New(reflect.TypeOf(into).Elem()).Interface()
			if err := json.Unmarshal(text, same); err != nil || !reflect.DeepEqual(into, same) {
				t.Errorf("%q: %+v here, %+v there, %v", text, into, same, err)
			}
			written, err := json.Marshal(into)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			again := reflect.New(reflect.TypeOf(into).Elem()).Interface()
			if err := decode(written, again); err != nil {
				t.Errorf("%q was taken, and written as %q: %v", text, written, err)
			}
		}
	})
}
