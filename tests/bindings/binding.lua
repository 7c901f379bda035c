-- The Lua binding: answers, errors, slices of time. usage: luajit binding.lua LIBRARY MODEL
local here = arg[0]:match "^(.*)/" or "."
package.path = here .. "/../../hostapi/?.lua;" .. package.path
local inflight = require "inflight"
local library, model = arg[1], arg[2]
local config = ("version: 1\nmodel: {path: '%s'}\n"):format(model)

local function ask(engine, text, tokens)
  local answer = {text = ""}
  local on = {text = function(s) answer.text = answer.text .. s end,
              done = function(ev) answer.done = ev end}
  answer.id = assert(engine:ask(text, on, {
    kind = inflight.PROMPT,
    options = ('{"temperature": 0, "ignore_eos": true, "max_tokens": %d}'):format(tokens)}))
  return answer
end

local tests = {
  {"an answer comes in pieces and ends once", function(engine)
    local a, b = ask(engine, "Water boils at", 12), ask(engine, "The sky is", 12)
    while engine:pump(1) > 0 do end
    assert(a.done.status == 0 and a.done.tokens == 12 and b.done.tokens == 12)
    assert(#a.text > 0 and a.text ~= b.text)
  end},
  {"a cancelled request ends", function(engine)
    local a = ask(engine, "Once upon a time", 5000)
    engine:cancel(a.id)
    while engine:pump(1) > 0 do end
    assert(a.done.status == -9)
  end},
  {"it computes in slices", function(engine)
    engine:run_for(0)
    engine:pump(0.1)
    local a = ask(engine, "The sky is", 12)
    assert(engine:pump(0.1) == 1 and a.text == "")
    for _ = 1, 1000 do
      engine:run_for(0.004)
      if engine:pump(0.008) == 0 then break end
    end
    assert(a.done.tokens == 12)
    engine:run_for()
    local b = ask(engine, "The sky is", 12)
    while engine:pump(1) > 0 do end
    assert(b.text == a.text)
  end},
  {"what is refused says why", function()
    local ok, text = pcall(inflight.open, "version: 1\nmodle: {}\n", library)
    assert(not ok and text:find("modle", 1, true), text)
  end},
}

local engine = inflight.open(config, library)
for _, test in ipairs(tests) do
  test[2](engine)
  print("ok   bindings: lua, " .. test[1])
end
engine:close()
