// SPDX-License-Identifier: MIT
// Inflight from C#: one file for Unity, Godot and .NET. Call Poll once per frame; it never waits.
// No callbacks, so nothing to pin and nothing for IL2CPP to marshal. Needs "unsafe" allowed.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace InflightLLM
{
    [StructLayout(LayoutKind.Sequential)]
    public struct inflight_hdr { public uint struct_size, abi; }

    [StructLayout(LayoutKind.Sequential)]
    public struct inflight_str { public IntPtr ptr; public ulong len; }

    [StructLayout(LayoutKind.Sequential)]
    public struct inflight_init_params
    {
        public inflight_hdr h;
        public inflight_str config, config_path;
        public IntPtr user, log, wakeup, io, alloc;
        public uint flags, reserved;
        public IntPtr cuda_context;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct inflight_request
    {
        public inflight_hdr h;
        public ulong user;
        public uint kind, priority;
        public inflight_str input, options;
        public ulong deadline_ns;
        public uint max_tokens, overflow, flags, reserved;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct inflight_event
    {
        public uint struct_size;
        public ushort type, flags;
        public ulong req, user, seq, time_ns;
        public IntPtr data;
        public ulong data_len;
        public int status;
        public uint n_tokens, choice, finish, n_prompt, n_cached;
        public ulong ttft_ns, total_ns, done, total;

        // Copies; valid to call until the next Poll.
        public unsafe string Text()
        {
            return data_len == 0 ? "" : Encoding.UTF8.GetString((byte*)data, (int)data_len);
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct inflight_frame_api
    {
        public inflight_hdr h;
        public IntPtr run_until;
    }

    public sealed class InflightException : Exception
    {
        public readonly int Status;
        public InflightException(int status, string text) : base(text) { Status = status; }
    }

    // One engine. Submit from any thread, Poll from one at a time.
    public sealed unsafe class Engine : IDisposable
    {
        public const int Chat = 0, Prompt = 1, Busy = -6;
        public const int EvLoad = 1, EvReady = 2, EvText = 3, EvDone = 5, EvLog = 7, EvDevice = 8;
        const string Library = "inflight"; // libinflight.so
        const uint Abi = 0x10001, QueryError = 1;

        [DllImport(Library)]
        static extern int inflight_init(inflight_init_params* p, IntPtr* engine);
        [DllImport(Library)]
        static extern int inflight_submit(IntPtr engine, inflight_request* request, ulong* req);
        [DllImport(Library)]
        static extern int inflight_poll(IntPtr engine, inflight_event* events, uint stride,
                                        uint cap, ulong timeout_ns);
        [DllImport(Library)]
        static extern int inflight_cancel(IntPtr engine, ulong req);
        [DllImport(Library)]
        static extern int inflight_free(IntPtr engine);
        [DllImport(Library)]
        static extern int inflight_query(IntPtr engine, uint what, void* output, ulong size);

        [DllImport(Library)]
        static extern inflight_frame_api* inflight_extension(byte* id);
        [DllImport("libc")]
        static extern int clock_gettime(int clock, long* time);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        delegate int RunUntil(IntPtr engine, ulong untilNs);

        IntPtr engine;
        RunUntil runUntil;
        readonly inflight_event[] events = new inflight_event[64];

        // config: YAML text. The model loads in the background: EvLoad, then one EvReady.
        // cudaContext: a CUcontext for device cuda to work in, alive until Dispose.
        public Engine(string config, IntPtr cudaContext = default(IntPtr))
        {
            byte[] text = Encoding.UTF8.GetBytes(config);
            var p = new inflight_init_params();
            p.h = new inflight_hdr { struct_size = (uint)sizeof(inflight_init_params), abi = Abi };
            IntPtr opened;
            int status;
            fixed (byte* at = text)
            {
                p.config = new inflight_str { ptr = (IntPtr)at, len = (ulong)text.Length };
                p.cuda_context = cudaContext;
                status = inflight_init(&p, &opened);
            }
            Check(status);
            engine = opened;
        }

        // Queues a request; its events carry user. An InflightException with Status Busy means
        // a full queue: submit again after a Poll. options: JSON with OpenAI's names, or "".
        public ulong Submit(string input, ulong user = 0, int kind = Chat, string options = "",
                            uint maxTokens = 0)
        {
            byte[] text = Encoding.UTF8.GetBytes(input), json = Encoding.UTF8.GetBytes(options);
            var r = new inflight_request { user = user, kind = (uint)kind, max_tokens = maxTokens };
            r.h = new inflight_hdr { struct_size = (uint)sizeof(inflight_request), abi = Abi };
            ulong req;
            int status;
            fixed (byte* t = text, j = json)
            {
                r.input = new inflight_str { ptr = (IntPtr)t, len = (ulong)text.Length };
                r.options = new inflight_str { ptr = (IntPtr)j, len = (ulong)json.Length };
                status = inflight_submit(engine, &r, &req);
            }
            Check(status);
            return req;
        }

        // The events there are. Read what they point to (Text) before the next Poll.
        public ArraySegment<inflight_event> Poll(ulong timeoutNs = 0)
        {
            int n;
            fixed (inflight_event* at = events)
                n = inflight_poll(engine, at, (uint)sizeof(inflight_event), (uint)events.Length,
                                  timeoutNs);
            Check(n);
            return new ArraySegment<inflight_event>(events, 0, n);
        }

        // From now the engine computes for so many seconds, then takes no time until the next call.
        // A loop calls it behind each frame with what is left until the next, less 0.0003. There
        // are events only while it computes; Dispose does not wait for a call.
        public void RunFor(double seconds)
        {
            long* time = stackalloc long[2];
            clock_gettime(1, time); // CLOCK_MONOTONIC
            long now = time[0] * 1000000000 + time[1];
            Check(FindRunUntil()(engine, (ulong)(now + (long)(seconds * 1e9))));
        }

        // Without an end, as at first.
        public void RunOn() { Check(FindRunUntil()(engine, ulong.MaxValue)); }

        RunUntil FindRunUntil()
        {
            byte[] id = Encoding.ASCII.GetBytes("inflight.frame/1\0");
            if (runUntil != null)
                return runUntil;
            inflight_frame_api* table;
            fixed (byte* at = id)
                table = inflight_extension(at);
            if (table == null)
                throw new InflightException(-14, "this library has no inflight.frame/1");
            runUntil = (RunUntil)Marshal.GetDelegateForFunctionPointer(table->run_until,
                                                                      typeof(RunUntil));
            return runUntil;
        }

        public void Cancel(ulong req) { Check(inflight_cancel(engine, req)); }

        // Joins the engine's threads: the one call that blocks.
        public void Dispose()
        {
            inflight_free(engine);
            engine = IntPtr.Zero;
        }

        void Check(int status)
        {
            if (status >= 0)
                return;
            byte[] text = new byte[512];
            int n;
            fixed (byte* at = text)
                n = inflight_query(engine, QueryError, at, (ulong)text.Length);
            string sentence = Encoding.UTF8.GetString(text, 0, Math.Max(0, Math.Min(n, 511)));
            throw new InflightException(status, sentence);
        }
    }
}
