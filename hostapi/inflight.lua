-- SPDX-License-Identifier: MIT
-- Inflight from LuaJIT: one file. Call engine:pump() once per frame; it never waits.
--   local engine = require("inflight").open("version: 1\nmodel: {path: model.gguf}")
--   engine:ask("Hello!", {text = function(s) io.write(s) end, done = function(ev) ... end})
local ffi = require "ffi"
ffi.cdef [[
typedef struct { uint32_t struct_size, abi; } inflight_hdr;
typedef struct { const char *ptr; uint64_t len; } inflight_str;
typedef struct {
  inflight_hdr h; inflight_str config, config_path; void *user, *log, *wakeup;
  const void *io, *alloc; uint32_t flags, reserved; void *cuda_context;
} inflight_init_params;
typedef struct {
  inflight_hdr h; uint64_t user; uint32_t kind, priority; inflight_str input, options;
  uint64_t deadline_ns; uint32_t max_tokens, overflow, flags, reserved;
} inflight_request;
typedef struct {
  uint32_t struct_size; uint16_t type, flags; uint64_t req, user, seq, time_ns;
  const char *data; uint64_t data_len; int32_t status;
  uint32_t n_tokens, choice, finish, n_prompt, n_cached;
  uint64_t ttft_ns, total_ns, done, total;
} inflight_event;
int32_t inflight_init(const inflight_init_params *params, void **engine);
int32_t inflight_submit(void *engine, const inflight_request *request, uint64_t *req);
int32_t inflight_poll(void *engine, inflight_event *events, uint32_t stride, uint32_t cap,
                      uint64_t timeout_ns);
int32_t inflight_cancel(void *engine, uint64_t req);
int32_t inflight_free(void *engine);
int32_t inflight_query(void *engine, uint32_t what, void *out, uint64_t out_size);
typedef struct {
  inflight_hdr h; int32_t (*run_until)(void *engine, uint64_t until_ns);
} inflight_frame_api;
const inflight_frame_api *inflight_extension(const char *id);
int inflight_clock(int clock, int64_t *time) __asm__("clock_gettime");
]]

local M, Engine, CAP = {CHAT = 0, PROMPT = 1}, {}, 64
local EV_READY, EV_TEXT, EV_DONE, BUSY = 2, 3, 5, -6
Engine.__index = Engine

local function header(name)
  local struct = ffi.new(name)
  struct.h.struct_size, struct.h.abi = ffi.sizeof(name), 0x10001
  return struct
end

local function explain(lib, engine, status)
  local text = ffi.new("char[512]")
  local n = lib.inflight_query(engine, 1, text, 512)
  return n > 0 and ffi.string(text) or "inflight: status " .. status
end

-- config: YAML text. library: path of libinflight.so.1. cuda_context: a CUcontext to share.
-- Errors are Lua errors.
function M.open(config, library, cuda_context)
  local lib = ffi.load(library or "libinflight.so.1")
  local params, out = header "inflight_init_params", ffi.new("void *[1]")
  params.config.ptr, params.config.len, params.cuda_context = config, #config, cuda_context
  local status = lib.inflight_init(params, out)
  if status ~= 0 then error(explain(lib, nil, status), 2) end
  return setmetatable({lib = lib, handle = ffi.gc(out[0], lib.inflight_free), asked = {},
                       next_user = 1, events = ffi.new("inflight_event[?]", CAP)}, Engine)
end

-- Queues a request and returns its id, or nil if the queue is full: ask again after a pump.
-- on.text(string) gets each piece, on.done(event) comes once and last.
-- more: {kind, options (JSON text), max_tokens}.
function Engine:ask(text, on, more)
  local request, id = header "inflight_request", ffi.new("uint64_t[1]")
  local options = more and more.options or ""
  request.input.ptr, request.input.len = text, #text
  request.options.ptr, request.options.len = options, #options
  request.kind, request.max_tokens = more and more.kind or 0, more and more.max_tokens or 0
  request.user = self.next_user
  local status = self.lib.inflight_submit(self.handle, request, id)
  if status == BUSY then return nil end
  if status ~= 0 then error(explain(self.lib, self.handle, status), 2) end
  self.asked[self.next_user], self.next_user = on or {}, self.next_user + 1
  return id[0]
end

-- Delivers what there is; returns how many requests are unfinished. seconds: how long to wait
-- for the first event, default 0.
function Engine:pump(seconds)
  local events = self.events
  local n = self.lib.inflight_poll(self.handle, events, ffi.sizeof "inflight_event", CAP,
                                   (seconds or 0) * 1e9)
  if n < 0 then error(explain(self.lib, self.handle, n), 2) end
  for i = 0, n - 1 do
    local ev, user = events[i], tonumber(events[i].user)
    local on = ev.req ~= 0 and self.asked[user]
    if ev.type == EV_READY and self.on_ready then
      self.on_ready(ev.status, ffi.string(ev.data, ev.data_len))
    elseif on and ev.type == EV_TEXT and ev.choice == 0 then
      if on.text then on.text(ffi.string(ev.data, ev.data_len)) end
    elseif on and ev.type == EV_DONE then
      self.asked[user] = nil
      if on.done then
        on.done {status = ev.status, finish = ev.finish, tokens = ev.n_tokens,
                 prompt = ev.n_prompt, ttft = tonumber(ev.ttft_ns) / 1e9,
                 error = ffi.string(ev.data, ev.data_len)}
      end
    end
  end
  local left = 0
  for _ in pairs(self.asked) do left = left + 1 end
  return left
end

-- From now the engine computes for so many seconds, then takes no time until the next call; nil:
-- without an end, as at first. A loop calls it behind each frame with what is left until the next,
-- less 0.0003. Nothing is delivered but while it computes; close does not wait for a call.
function Engine:run_for(seconds)
  local frame, time = self.lib.inflight_extension "inflight.frame/1", ffi.new "int64_t[2]"
  if frame == nil then error("inflight: this library has no inflight.frame/1", 2) end
  ffi.C.inflight_clock(1, time) -- CLOCK_MONOTONIC
  local now = time[0] * 1000000000LL + time[1]
  local till = seconds and ffi.cast("uint64_t", now + seconds * 1e9) or -1ULL
  local status = frame.run_until(self.handle, till)
  if status ~= 0 then error(explain(self.lib, self.handle, status), 2) end
end

function Engine:cancel(id)
  self.lib.inflight_cancel(self.handle, id)
end

-- Joins the engine's threads: the one call that blocks.
function Engine:close()
  self.lib.inflight_free(ffi.gc(self.handle, nil))
  self.handle = nil
end

return M
