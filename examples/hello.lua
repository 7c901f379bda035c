-- One question, streamed. Run at the root of the repository: luajit examples/hello.lua "..."
package.path = "hostapi/?.lua;" .. package.path
if not arg[1] or arg[1] == "-h" then
  print 'usage: luajit examples/hello.lua "a question" [MODEL]'
  os.exit(arg[1] and 0 or 2)
end
local model = arg[2] or "build/models/SmolLM2-135M-Instruct.Q4_1.gguf"
local engine = require("inflight").open(
  ("version: 1\nmodel:\n  path: '%s'\n"):format(model:gsub("'", "''")), "build/libinflight.so.1")
engine:ask(arg[1], {
  text = function(text) io.write(text) io.flush() end,
  done = function(ev) print(("\n[%d tokens]%s"):format(ev.tokens, ev.error)) end,
}, {max_tokens = 128})
while engine:pump(0.1) > 0 do end
engine:close()
