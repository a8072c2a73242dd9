%% Over the distribution of Erlang/OTP: two nodes, one in a process of its own, a gen_server there. Prints what
%% benchmarks/wire/__init__.py describes.
%%
%%   erlc -o DIR with_erlang.erl && erl -noinput -pa DIR -sname NAME -run with_erlang main tell 1.0
%%
%% Needs epmd, which erl starts itself.
-module(with_erlang).
-behaviour(gen_server).
-export([main/1, there/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(MESSAGES, 1000000).
-define(WAVE, 50000).
-define(CALLS, 5000).
-define(DISTURBED, 1000).
-define(BURST, 1000).
-define(EVERY, 2).
-define(BINARIES, 4000).
-define(AT_ONCE, 4).
-define(MEBIBYTE, 1048576).

main([Case, Scale]) ->
    logger:set_primary_config(level, none),
    Other = start(),
    Sinks = [rpc:call(Other, ?MODULE, there, [node()]) || _ <- lists:seq(1, ?AT_ONCE)],
    Figures = a_case(Case, Sinks, to_float(Scale)),
    Rows = [io_lib:format("\"~s\": ~w", [Row, Value]) || {Row, Value} <- Figures],
    io:format("{~s}~n", [lists:join(", ", Rows)]),
    halt(0, [{flush, true}]).

%% The other node, in a process of its own, with the same code.
start() ->
    [_, Host] = string:split(atom_to_list(node()), "@"),
    Other = "there" ++ os:getpid(),
    open_port({spawn_executable, os:find_executable("erl")},
        [{args, ["-noinput", "-pa", filename:dirname(code:which(?MODULE)), "-sname", Other]}]),
    await(list_to_atom(Other ++ "@" ++ Host), 100).

await(Node, Tries) when Tries > 0 ->
    case net_adm:ping(Node) of
        pong -> Node;
        pang -> timer:sleep(50), await(Node, Tries - 1)
    end.

%% A sink, and somebody who ends this node with the one that asked.
there(Main) ->
    spawn(fun() -> monitor_node(Main, true), receive {nodedown, _} -> halt(0) end end),
    {ok, Pid} = gen_server:start(?MODULE, [], []),
    Pid.

%% --- the cases ---

a_case("tell", [Sink | _], Scale) ->
    Waves = max(1, trunc(?MESSAGES * Scale) div ?WAVE),
    told(Sink, 1),
    {Took, _} = timer:tc(fun() -> told(Sink, Waves) end),
    [{"tell", Waves * ?WAVE * 1.0e6 / Took}];
a_case("call", [Sink | _], Scale) ->
    latencies("call", called(Sink, trunc(?CALLS * Scale)));
a_case("loaded", [Sink, Other | _], Scale) ->
    Flood = spawn_link(fun() -> flood(Other, erlang:monotonic_time(millisecond), 0) end),
    Begun = erlang:monotonic_time(microsecond),
    Taken = called(Sink, trunc(?DISTURBED * Scale)),
    Flood ! {sent, self()},
    Sent = receive {flooded, Count} -> Count end,
    Took = erlang:monotonic_time(microsecond) - Begun,
    [{"loaded rate", Sent * 1.0e6 / Took} | latencies("loaded", Taken)];
a_case("binaries", Sinks, Scale) ->
    Each = max(1, trunc(?BINARIES * Scale) div ?AT_ONCE),
    Data = binary:copy(<<0>>, ?MEBIBYTE),
    all(Sinks, 1 + Each div 10, Data),
    {Took, _} = timer:tc(fun() -> all(Sinks, Each, Data) end),
    [{"binaries", Each * ?AT_ONCE * ?MEBIBYTE * 1.0e6 / Took}].

told(Sink, Waves) ->
    Payload = binary:copy(<<0>>, 85),
    Me = self(),
    [begin
         tell(Sink, Payload, ?WAVE),
         spawn_link(fun() -> seen = gen_server:call(Sink, seen, 60000), Me ! wave end),
         if Wave > 2 -> receive wave -> ok end; true -> ok end
     end || Wave <- lists:seq(1, Waves)],
    [receive wave -> ok end || _ <- lists:seq(1, min(2, Waves))],
    seen = gen_server:call(Sink, seen, 60000).

tell(_, _, 0) -> ok;
tell(Sink, Payload, Count) ->
    gen_server:cast(Sink, {blob, Payload}),
    tell(Sink, Payload, Count - 1).

called(Sink, Count) ->
    [call(Sink) || _ <- lists:seq(1, Count div 10)],
    [call(Sink) || _ <- lists:seq(1, Count)].

call(Sink) ->
    Begun = erlang:monotonic_time(nanosecond),
    seen = gen_server:call(Sink, seen, 60000),
    erlang:monotonic_time(nanosecond) - Begun.

flood(Sink, Due, Sent) ->
    tell(Sink, binary:copy(<<0>>, 85), ?BURST),
    Next = Due + ?EVERY,
    receive {sent, Who} -> Who ! {flooded, Sent + ?BURST}
    after max(0, Next - erlang:monotonic_time(millisecond)) -> flood(Sink, Next, Sent + ?BURST)
    end.

all(Sinks, Count, Data) ->
    Me = self(),
    [spawn_link(fun() ->
        [?MEBIBYTE = gen_server:call(Sink, {film, Data}, 60000) || _ <- lists:seq(1, Count)],
        Me ! done
    end) || Sink <- Sinks],
    [receive done -> ok end || _ <- Sinks].

latencies(Row, Nanoseconds) ->
    Ordered = lists:sort(Nanoseconds),
    At = fun(Part) -> lists:nth(1 + trunc(length(Ordered) * Part), Ordered) / 1.0e3 end,
    [{Row ++ " p50", At(0.5)}, {Row ++ " p99", At(0.99)}].

to_float(Text) ->
    try list_to_float(Text) catch error:badarg -> float(list_to_integer(Text)) end.

%% --- the sink ---

init([]) -> {ok, 0}.

handle_cast({blob, _}, Seen) -> {noreply, Seen + 1}.

handle_call(seen, _, Seen) -> {reply, seen, Seen};
handle_call({film, Data}, _, Seen) -> {reply, byte_size(Data), Seen}.

handle_info(_, Seen) -> {noreply, Seen}.
