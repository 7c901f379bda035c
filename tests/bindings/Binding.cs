// The C# binding: answers, errors, slices of time. usage: Binding.exe MODEL
using System;
using System.Text;
using System.Threading;
using InflightLLM;

static class Binding
{
    const string Options = "{\"temperature\": 0, \"ignore_eos\": true}";

    static void Want(bool holds, string what)
    {
        if (!holds)
            throw new Exception(what);
    }

    // The text of one answer; takes what comes until its end.
    static string Answer(Engine engine, ulong user, out inflight_event done)
    {
        var text = new StringBuilder();
        for (;;)
            foreach (inflight_event e in engine.Poll(1000000000))
            {
                if (e.user != user || e.req == 0)
                    continue;
                if (e.type == Engine.EvText)
                    text.Append(e.Text());
                done = e;
                if (e.type == Engine.EvDone)
                    return text.ToString();
            }
    }

    static void AnswersComeInPieces(Engine engine)
    {
        inflight_event done;
        engine.Submit("Water boils at", 7, Engine.Prompt, Options, 12);
        string text = Answer(engine, 7, out done);
        Want(done.status == 0 && done.n_tokens == 12 && text.Length > 0, "an answer");
    }

    static void CancelledRequestsEnd(Engine engine)
    {
        inflight_event done;
        engine.Cancel(engine.Submit("Once upon a time", 8, Engine.Prompt, Options, 5000));
        Answer(engine, 8, out done);
        Want(done.status == -9, "a cancelled request");
    }

    static void ComputesInSlices(Engine engine)
    {
        inflight_event done;
        engine.RunFor(0);
        Thread.Sleep(100);
        engine.Poll();
        engine.Submit("The sky is", 9, Engine.Prompt, Options, 12);
        Want(engine.Poll(100000000).Count == 0, "events of an engine that is stopped");
        for (int i = 0; i < 3; i++)
        {
            engine.RunFor(0.002);
            Thread.Sleep(6);
        }
        engine.RunOn();
        Answer(engine, 9, out done);
        Want(done.n_tokens == 12, "an answer in slices");
    }

    static void WhatIsRefusedSaysWhy(Engine engine)
    {
        string text = "";
        try
        {
            new Engine("version: 1\nmodle: {}\n");
        }
        catch (InflightException e)
        {
            text = e.Message;
        }
        Want(text.Contains("modle"), "the reason of a refusal: " + text);
    }

    static void Run(string name, Action<Engine> test, Engine engine)
    {
        test(engine);
        Console.WriteLine("ok   bindings: c#, " + name);
    }

    static void Main(string[] args)
    {
        using (var engine = new Engine("version: 1\nmodel: {path: '" + args[0] + "'}\n"))
        {
            Run("answers come in pieces", AnswersComeInPieces, engine);
            Run("cancelled requests end", CancelledRequestsEnd, engine);
            Run("it computes in slices", ComputesInSlices, engine);
            Run("what is refused says why", WhatIsRefusedSaysWhy, engine);
        }
    }
}
