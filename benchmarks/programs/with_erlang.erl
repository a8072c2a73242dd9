%% The cases, done with Erlang/OTP: gen_servers with as little in them as ours. Prints what benchmarks/stopwatch.py describes.
%%
%%   erlc -o DIR with_erlang.erl && erl -noinput -pa DIR -run with_erlang main tell 1.0
%%
%% Processor time is that of all schedulers, which also spin for a while when there is nothing to do.
-module(with_erlang).
-behaviour(gen_server).
-export([main/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(ROUNDS, 3).
-define(BATCH, 20).
-define(RING, 1000).
-define(SOURCES, 100).
-define(RESTARTS, 50).

main([Name, Scale]) ->
    logger:set_primary_config(level, none),
    {Measure, Size, Times} = a_case(Name),
    Count = max(1, trunc(Size * to_float(Scale))),
    Samples =
        case Times of
            once ->
                [apart(Measure, Count)];
            often ->
                apart(Measure, max(1, Count div 10)),
                [apart(Measure, Count) || _ <- lists:seq(1, ?ROUNDS)]
        end,
    {Values, Cpus, [Note | _]} = lists:unzip3(Samples),
    io:format("{\"value\": ~w, \"cpu\": ~w, \"note\": \"~s\"}~n", [median(Values), median(Cpus), Note]),
    halt(0, [{flush, true}]).

a_case("tell") -> {fun tell/1, 1000000, often};
a_case("fan-in") -> {fun fan_in/1, 1000000, often};
a_case("call") -> {fun call/1, 200000, often};
a_case("queued") -> {fun queued/1, 200000, often};
a_case("ring") -> {fun ring/1, 1000000, often};
a_case("spawn") -> {fun spawn_them/1, 50000, often};
a_case("memory") -> {fun memory/1, 100000, once};
a_case("alive") -> {fun alive/1, 1000000, once};
a_case("restart") -> {fun restart/1, 3000, often};
a_case("crashes") -> {fun crashes/1, 3000, often};
a_case("logged") -> {fun logged/1, 1000, often}.

%% In a process of its own, whose garbage is gone with it.
apart(Measure, Count) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({measured, Measure(Count)}) end),
    receive {'DOWN', Monitor, process, Pid, {measured, Sample}} -> Sample end.

%% --- the cases ---

tell(Count) -> told(1, Count).

fan_in(Count) -> told(?SOURCES, max(1, Count div ?SOURCES)).

told(Sources, Share) ->
    {ok, Sink} = gen_server:start(?MODULE, {sink, Sources * Share, self()}, []),
    Pids = [begin {ok, Pid} = gen_server:start(?MODULE, {source, Sink, Share}, []), Pid end || _ <- lists:seq(1, Sources)],
    Watch = watch(),
    [gen_server:cast(Pid, go) || Pid <- Pids],
    receive done -> rate(Watch, Sources * Share) end.

call(Count) ->
    {ok, Echo} = gen_server:start(?MODULE, echo, []),
    called(Count, fun(Number) -> gen_server:call(Echo, Number) end).

queued(Count) ->
    {ok, Echo} = gen_server:start(?MODULE, echo, []),
    called(Count, fun(Number) -> gen_server:cast(Echo, Number), gen_server:call(Echo, Number) end).

called(Count, Ask) ->
    Batches = max(1, Count div ?BATCH),
    Watch = watch(),
    Times = [timed(fun() -> batch(?BATCH, Ask) end) / ?BATCH || _ <- lists:seq(1, Batches)],
    {median(Times), cpu(Watch, Batches * ?BATCH), ""}.

batch(0, _) -> ok;
batch(Left, Ask) -> Ask(Left), batch(Left - 1, Ask).

ring(Hops) ->
    Pids = [begin {ok, Pid} = gen_server:start(?MODULE, {link, self()}, []), Pid end || _ <- lists:seq(1, ?RING)],
    [gen_server:call(One, {meet, Other}) || {One, Other} <- lists:zip(Pids, tl(Pids) ++ [hd(Pids)])],
    Watch = watch(),
    gen_server:cast(hd(Pids), Hops),
    receive done -> rate(Watch, Hops) end.

spawn_them(Count) ->
    Watch = watch(),
    start_many(Count),
    rate(Watch, Count).

start_many(0) -> ok;
start_many(Left) -> {ok, _} = gen_server:start(?MODULE, small, []), start_many(Left - 1).

memory(Count) ->
    start_many(100),
    erlang:garbage_collect(),
    Before = resident(),
    Watch = watch(),
    start_many(Count),
    erlang:garbage_collect(),
    {(resident() - Before) / Count, cpu(Watch, Count), ""}.

alive(Most) ->
    Watch = {_, Began} = watch(),
    Count = start_until_it_breaks(0, Most),
    Seconds = (erlang:monotonic_time(nanosecond) - Began) / 1.0e9,
    End = if Count < Most -> ", then its default limit"; true -> "" end,
    {Count, cpu(Watch, Count), io_lib:format("~.1f s, ~.2f GB~s", [Seconds, resident() / 1.0e9, End])}.

start_until_it_breaks(Count, Count) -> Count;
start_until_it_breaks(Count, Most) ->
    try gen_server:start(?MODULE, small, []) of
        {ok, _} -> start_until_it_breaks(Count + 1, Most)
    catch
        error:system_limit -> Count
    end.

restart(Count) ->
    process_flag(trap_exit, true),
    Watch = watch(),
    Times = supervised(Count, []),
    {median(Times), cpu(Watch, Count), ""}.

supervised(0, Times) -> Times;
supervised(Left, Times) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, supervisor),
    Now = min(Left, ?RESTARTS),
    More = [timed(fun crash_to_answer/0) || _ <- lists:seq(1, Now)],
    exit(Supervisor, shutdown),
    receive {'EXIT', Supervisor, _} -> ok end,
    supervised(Left - Now, More ++ Times).

crash_to_answer() ->
    Fragile = whereis(fragile),
    Monitor = monitor(process, Fragile),
    gen_server:cast(Fragile, crash),
    receive {'DOWN', Monitor, process, Fragile, _} -> ok end,
    replaced(),
    gen_server:call(fragile, there).

replaced() ->
    case whereis(fragile) of
        undefined -> erlang:yield(), replaced();
        _ -> ok
    end.

crashes(Count) ->
    process_flag(trap_exit, true),
    Watch = watch(),
    crashed(Count),
    rate(Watch, Count).

crashed(0) -> ok;
crashed(Left) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, supervisor),
    Now = min(Left, ?RESTARTS),
    [crash_to_replacement() || _ <- lists:seq(1, Now)],
    exit(Supervisor, shutdown),
    receive {'EXIT', Supervisor, _} -> ok end,
    crashed(Left - Now).

crash_to_replacement() ->
    Fragile = whereis(fragile),
    gen_server:cast(Fragile, crash),
    replaced(Fragile).

replaced(Former) ->
    case whereis(fragile) of
        Pid when Pid =:= undefined; Pid =:= Former -> erlang:yield(), replaced(Former);
        _ -> ok
    end.

logged(Count) ->
    logger:set_primary_config(level, notice),
    Sample = restart(Count),
    logger:set_primary_config(level, none),
    Sample.

%% --- the servers ---

init(supervisor) ->
    Start = {gen_server, start_link, [{local, fragile}, ?MODULE, echo, []]},
    {ok, {#{intensity => ?RESTARTS, period => 5}, [#{id => fragile, start => Start}]}};
init(State) ->
    {ok, State}.

handle_call({meet, Next}, _From, {link, Done}) -> {reply, ok, {link, Next, Done}};
handle_call(Message, _From, State) -> {reply, Message, State}.

handle_cast(crash, _State) -> error(crash);
handle_cast(_, {sink, 1, Done}) -> Done ! done, {noreply, done};
handle_cast(_, {sink, Left, Done}) -> {noreply, {sink, Left - 1, Done}};
handle_cast(go, {source, Sink, Count}) -> send(Count, Sink), {noreply, done};
handle_cast(0, {link, _, Done} = State) -> Done ! done, {noreply, State};
handle_cast(Left, {link, Next, _} = State) -> gen_server:cast(Next, Left - 1), {noreply, State};
handle_cast(_, State) -> {noreply, State}.

handle_info(_, State) -> {noreply, State}.

send(0, _) -> ok;
send(Left, Sink) -> gen_server:cast(Sink, Left), send(Left - 1, Sink).

%% --- the stopwatch ---

watch() -> {element(1, erlang:statistics(runtime)), erlang:monotonic_time(nanosecond)}.

rate({_, Began} = Watch, Count) ->
    {Count * 1.0e9 / (erlang:monotonic_time(nanosecond) - Began), cpu(Watch, Count), ""}.

cpu({Runtime, _}, Count) -> (element(1, erlang:statistics(runtime)) - Runtime) * 1000 / Count.

timed(Function) ->
    Began = erlang:monotonic_time(nanosecond),
    Function(),
    (erlang:monotonic_time(nanosecond) - Began) / 1000.

median(Values) -> lists:nth((length(Values) + 1) div 2, lists:sort(Values)).

resident() ->
    {ok, File} = file:open("/proc/self/statm", [raw, read]),
    {ok, Line} = file:read_line(File),
    file:close(File),
    list_to_integer(lists:nth(2, string:split(Line, " ", all))) * 4096.

to_float(Text) ->
    try list_to_float(Text) catch error:badarg -> float(list_to_integer(Text)) end.
