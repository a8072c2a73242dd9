%% Erlang's side of the referee: runs scenarios on Erlang's own supervisor and writes down what happened.
%%
%%   erl -noshell +S 1 -eval 'referee:main("scenarios", "logs")'
%%
%%   scenarios ──> runner ── a step, then all is quiet ──> top ── supervisor ── children
%%                                                          every init, terminate and end ──> hub ──> logs
%%
%% The supervisor is the installed one, loaded once more under the name `referee_supervisor` with another clock: its
%% abstract code is taken from its beam file, and `monotonic_time`, timers and `receive ... after` ask the hub. So no
%% scenario sleeps: the runner lets the hub's time pass, from one timer to the next, whenever all is quiet.
%% `scenario.py` says what a scenario is, `logs.py` what a log is. One scheduler, so that whoever sends first is read first.
-module(referee).

-export([main/2]).
-export([start_child/1, init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([seconds/0, start_timer/3, cancel_timer/1]).

-define(USED, [gen, gen_server, proc_lib, sys, error_logger, logger, logger_server, string, io_lib, io_lib_format, io_lib_pretty]).

main(Scenarios, Logs) ->
    logger:set_primary_config(level, none),
    load_supervisor(),
    {ok, Terms} = file:consult(Scenarios),
    ok = code:ensure_modules_loaded(?USED),  % whoever waits for a module looks as if he waited for time
    Loaded = code:all_loaded(),
    Texts = [[<<"== ">>, integer_to_binary(Number), $\n, run(Tree, Steps)] || {Number, Tree, Steps} <- Terms],
    [] = code:all_loaded() -- Loaded,
    ok = file:write_file(Logs, Texts).

%% --- one scenario ---

run(Tree, Steps) ->
    Others = maps:from_keys(processes(), others),
    Hub = spawn_link(fun() -> hub(#{now => 0, log => [], timers => [], pids => #{}, names => #{}, counts => #{}, starting => []}) end),
    register(hub, Hub),
    {ok, Top} = referee_supervisor:start_link(?MODULE, top),
    unlink(Top),
    lists:foldl(fun(Step, Number) -> step(Step, Number, Top), Number + 1 end, 0, [[ask, top, start, Tree] | Steps]),
    Log = ask(log),
    [exit(Pid, kill) || Pid <- processes(), not is_map_key(Pid, Others), Pid =/= Hub],
    quiet(),
    unlink(Hub),
    exit(Hub, kill),
    Log.

step(Step, Number, Top) ->
    event(["-- ", integer_to_list(Number)]),
    do(Step, Top).

do([wait, Seconds], _) ->
    pass(ask(now) + Seconds);
do([burst, Supervisor, Steps], Top) ->
    case pid_of(Supervisor, Top) of
        undefined ->
            [do(Step, Top) || Step <- Steps];
        Pid ->
            Held = catch erlang:suspend_process(Pid),
            [do(Step, Top) || Step <- Steps],
            Held =:= true andalso is_process_alive(Pid) andalso erlang:resume_process(Pid)
    end,
    quiet();
do(['end', Who, How], Top) ->
    case {pid_of(Who, Top), How} of
        {undefined, _} -> ok;
        {Pid, kill} -> exit(Pid, kill);
        {Pid, stop} -> spawn(fun() -> catch gen_server:stop(Pid) end);
        {Pid, _} -> ask({is_starting, Pid}) orelse (Pid ! {'end', How})
    end,
    quiet();
do([ask, Supervisor, What | Arguments], Top) ->
    Asked = pid_of(Supervisor, Top),
    spawn(fun() ->
                  Answer = try answer(What, Asked, Arguments) catch exit:_ -> "gone" end,
                  Named = case Arguments of [#{id := Id}] -> [Id]; _ -> Arguments end,
                  event(["answer ", lists:join($\s, [atom_to_list(Word) || Word <- [Supervisor, What | Named]]), ": ", Answer])
          end),
    quiet().

pid_of(top, Top) -> Top;
pid_of(Id, _) -> ask({pid, Id}).

%% What an operator asks, and the answer in the words of a log.

answer(start, Pid, [Child]) ->
    Asked = case is_dynamic(Pid) of true -> [Child]; false -> spec(Child) end,
    case referee_supervisor:start_child(Pid, Asked) of
        {ok, undefined} -> "ignored";
        {ok, _} -> "started";
        {error, {already_started, _}} -> "exists";
        {error, already_present} -> "exists";
        {error, _} -> "failed"
    end;
answer(terminate, Pid, [Id]) ->
    case is_dynamic(Pid) of
        false -> done(referee_supervisor:terminate_child(Pid, Id));
        true ->  % it knows its children by their processes, and says ok to whatever is dead
            case ask({pid, Id}) of
                undefined -> "not_found";
                Child -> done(referee_supervisor:terminate_child(Pid, Child))
            end
    end;
answer(delete, Pid, [Id]) -> done(referee_supervisor:delete_child(Pid, Id));
answer(restart, Pid, [Id]) ->
    case referee_supervisor:restart_child(Pid, Id) of
        {ok, undefined} -> "ignored";
        {ok, _} -> "started";
        {error, Why} when Why =:= running; Why =:= restarting; Why =:= not_found -> done({error, Why});
        {error, _} -> "failed"
    end;
answer(which, Pid, []) ->
    Children = referee_supervisor:which_children(Pid),
    case is_dynamic(Pid) of  % a set, in which one that is being restarted has lost its name; the others: the last one first
        true -> words(lists:sort([[name_of(Child), $=, state(Child)] || {_, Child, _, _} <- Children]));
        false -> words(lists:reverse([[atom_to_list(Id), $=, state(Child)] || {Id, Child, _, _} <- Children]))
    end;
answer(count, Pid, []) ->
    words([[atom_to_list(Name), $=, integer_to_list(Count)] || {Name, Count} <- referee_supervisor:count_children(Pid)]).

done(ok) -> "ok";
done({error, Why}) -> atom_to_list(Why).

words(Words) -> lists:join($\s, Words).

state(Child) when is_pid(Child) -> "running";
state(undefined) -> "stopped";
state(restarting) -> "restarting".

name_of(Child) when is_pid(Child) -> atom_to_list(element(1, ask({named, Child})));
name_of(_) -> "-".

is_dynamic(Pid) -> element(3, ask({named, Pid})) =:= dynamic.

%% --- quiet, and time ---

%% Nobody has anything to do but to wait for time to pass. There is one scheduler, on which nobody runs while this does;
%% but one who is on his way out may be at work elsewhere, and is seen only by his status.
quiet() ->
    erlang:yield(),
    Still = erlang:statistics(run_queue) =:= 0
        andalso lists:all(fun is_waiting/1, processes() -- [self()])
        andalso erlang:statistics(run_queue) =:= 0,
    Still orelse quiet().

is_waiting(Pid) ->
    case process_info(Pid, status) of
        {status, Status} -> Status =:= waiting orelse Status =:= suspended;
        undefined -> false
    end.

pass(Until) ->
    quiet(),
    case ask({ring, Until}) of
        true -> pass(Until);
        false -> quiet()
    end.

%% --- the hub: the clock, and who is who ---

event(Text) -> hub ! {event, Text}.

ask(Question) ->
    Mon = monitor(process, hub),
    hub ! {Mon, self(), Question},
    receive
        {Mon, Answer} -> demonitor(Mon, [flush]), Answer;
        {'DOWN', Mon, process, _, Why} -> exit(Why)
    end.

%% `names`: what is started under which name and of which kind; `pids`: the last one of each id.
hub(S = #{timers := Timers}) ->
    receive
        {event, Text} -> hub(note(Text, S));
        {timer, Timer} -> hub(S#{timers := lists:sort([Timer | Timers])});
        {cancel, Ref} -> hub(S#{timers := [Timer || Timer <- Timers, element(2, Timer) =/= Ref]});
        {ready, Pid} -> hub(note(["ready ", name(Pid, S)], S#{starting := maps:get(starting, S) -- [Pid]}));
        {'DOWN', _, process, _, {shutdown, {failed_to_start_child, _, _}}} -> hub(S);
        {'DOWN', _, process, Pid, Why} -> hub(note(["down ", name(Pid, S), " ", reason(Why)], S));
        {Mon, From, Question} ->
            {Answer, Next} = reply(Question, From, S),
            From ! {Mon, Answer},
            hub(Next)
    end.

note(Text, S = #{now := Now, log := Log}) -> S#{log := [[integer_to_list(Now), $\s, Text, $\n] | Log]}.

name(Pid, #{names := Names}) ->
    case Names of #{Pid := {Id, Count, _}} -> [atom_to_list(Id), $#, integer_to_list(Count)]; _ -> "top" end.

reply(log, _, S = #{log := Log}) -> {lists:reverse(Log), S};
reply(now, _, S = #{now := Now}) -> {Now, S};
reply({pid, Id}, _, S = #{pids := Pids}) -> {maps:get(Id, Pids, undefined), S};
reply({named, Pid}, _, S = #{names := Names}) -> {maps:get(Pid, Names, {top, 1, supervisor}), S};
reply({is_starting, Pid}, _, S = #{starting := Starting}) -> {lists:member(Pid, Starting), S};
reply({ring, Until}, _, S = #{timers := [{Due, Ref, Pid, Message} | Left]}) when Due =< Until ->
    Pid ! {timeout, Ref, Message},
    {true, S#{now := Due, timers := Left}};
reply({ring, Until}, _, S) -> {false, S#{now := Until}};
%% Somebody begins to start, and how that goes is what its script has for this attempt.
reply({begins, Id, Kind, Script, Parent}, Pid, S = #{pids := Pids, names := Names, counts := Counts}) ->
    Count = maps:get(Id, Counts, 0) + 1,
    Outcome = case Count =< length(Script) of true -> lists:nth(Count, Script); false -> ok end,
    Started = S#{counts := Counts#{Id => Count}, names := Names#{Pid => {Id, Count, Kind}}},
    Noted = note(["up ", name(Pid, Started), " ", name(Parent, S), " ", outcome(Outcome)], Started),
    case Outcome of
        _ when Outcome =:= fail; Outcome =:= ignore -> {Outcome, Noted};
        _ ->
            monitor(process, Pid),
            Slow = [Pid || is_integer(Outcome)] ++ maps:get(starting, S),
            {Outcome, Noted#{pids := Pids#{Id => Pid}, starting := Slow}}
    end.

outcome(Seconds) when is_integer(Seconds) -> ["slow", integer_to_list(Seconds)];
outcome(Word) -> atom_to_list(Word).

reason({shutdown, term}) -> "shutdown:term";
reason(Why) when is_atom(Why) -> atom_to_list(Why);
reason(Why) -> io_lib:format("~0p", [Why]).

%% --- the tree ---

spec(Child = #{id := Id, kind := Kind, restart := Restart, shutdown := Shutdown, significant := Significant}) ->
    #{id => Id,
      start => {?MODULE, start_child, [Child]},
      restart => Restart,
      shutdown => case is_integer(Shutdown) of true -> Shutdown * 1000; false -> Shutdown end,
      significant => Significant,
      type => Kind}.

flags(#{strategy := Strategy, intensity := Intensity, period := Period, auto_shutdown := Auto}) ->
    #{strategy => Strategy, intensity => Intensity, period => Period, auto_shutdown => Auto}.

start_child(Child = #{kind := supervisor}) -> referee_supervisor:start_link(?MODULE, Child);
start_child(Child = #{kind := worker}) -> gen_server:start_link(?MODULE, Child, []).

init(top) ->
    {ok, {#{strategy => one_for_one, intensity => 0, period => 1}, []}};
init(Branch = #{kind := supervisor, id := Id, strategy := dynamic, children := [Template]}) ->
    ask({begins, Id, dynamic, [], parent()}),
    {ok, {flags(Branch#{strategy := simple_one_for_one}), [(spec(Template))#{start => {?MODULE, start_child, []}}]}};
init(Branch = #{kind := supervisor, id := Id, children := Children}) ->
    ask({begins, Id, supervisor, [], parent()}),
    {ok, {flags(Branch), [spec(Child) || Child <- Children]}};
init(#{kind := worker, id := Id, starts := Starts, ending := Ending}) ->
    process_flag(trap_exit, true),
    case ask({begins, Id, worker, Starts, parent()}) of
        fail -> {stop, fail};
        ignore -> ignore;
        ok -> {ok, Ending};
        Seconds -> sleep(Seconds), hub ! {ready, self()}, {ok, Ending}
    end.

parent() -> hd(get('$ancestors')).

own_name() ->
    {Id, Count, _} = ask({named, self()}),
    [atom_to_list(Id), $#, integer_to_list(Count)].

handle_call(_, _, Ending) -> {noreply, Ending}.

handle_cast(_, Ending) -> {noreply, Ending}.

handle_info({'end', term}, Ending) -> {stop, {shutdown, term}, Ending};
handle_info({'end', How}, Ending) -> {stop, How, Ending}.

%% Only the plain request to end takes as long as its script says.
terminate(Reason, Ending) ->
    event(["stopping ", own_name(), " ", reason(Reason)]),
    case Ending of
        _ when Reason =/= shutdown; Ending =:= quick -> ok;
        crash -> exit(crash);
        never -> receive nothing -> ok end;
        Seconds -> sleep(Seconds)
    end.

sleep(Seconds) ->
    Ref = start_timer(Seconds * 1000, self(), over),
    receive {timeout, Ref, over} -> ok end.

%% --- the supervisor's other clock ---

seconds() -> ask(now).

start_timer(infinity, _, _) -> make_ref();
start_timer(Milliseconds, Pid, Message) ->
    Ref = make_ref(),
    hub ! {timer, {ask(now) + Milliseconds div 1000, Ref, Pid, Message}},
    Ref.

cancel_timer(Ref) -> hub ! {cancel, Ref}.

load_supervisor() ->
    {ok, {_, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(code:which(supervisor), [abstract_code]),
    {ok, Module, Code} = compile:forms(other_clock(Forms), [binary, nowarn_unused_function]),
    {module, Module} = code:load_binary(Module, "supervisor with another clock", Code).

other_clock({attribute, At, module, supervisor}) ->
    {attribute, At, module, referee_supervisor};
other_clock({call, At, {remote, _, {atom, _, gen_server}, {atom, _, start_link}} = Start, Arguments}) ->
    Ours = [case Argument of {atom, _, supervisor} -> {atom, At, referee_supervisor}; _ -> Argument end || Argument <- Arguments],
    {call, At, Start, Ours};
other_clock({call, At, {remote, _, {atom, _, erlang}, {atom, _, Name}}, Arguments})
  when Name =:= monotonic_time; Name =:= start_timer; Name =:= cancel_timer ->
    case Name of
        monotonic_time -> call(At, seconds, []);
        _ -> call(At, Name, other_clock(Arguments))
    end;
other_clock({'receive', At, Clauses, {integer, _, 0}, Otherwise}) ->
    {'receive', At, other_clock(Clauses), {integer, At, 0}, other_clock(Otherwise)};
other_clock({'receive', At, Clauses, Patience, Otherwise}) ->  % begin Timer = start_timer(...), receive ... end end
    Timer = {var, At, list_to_atom("Timer" ++ integer_to_list(erlang:unique_integer([positive])))},
    InTime = [{clause, A, Patterns, Guards, [call(At, cancel_timer, [Timer]) | other_clock(Body)]}
              || {clause, A, Patterns, Guards, Body} <- Clauses],
    Late = {clause, At, [{tuple, At, [{atom, At, timeout}, Timer, {atom, At, over}]}], [], other_clock(Otherwise)},
    {block, At, [{match, At, Timer, call(At, start_timer, [Patience, {call, At, {atom, At, self}, []}, {atom, At, over}])},
                 {'receive', At, InTime ++ [Late]}]};
other_clock(Form) when is_tuple(Form) -> list_to_tuple(other_clock(tuple_to_list(Form)));
other_clock(Forms) when is_list(Forms) -> [other_clock(Form) || Form <- Forms];
other_clock(Other) -> Other.

call(At, Name, Arguments) -> {call, At, {remote, At, {atom, At, ?MODULE}, {atom, At, Name}}, Arguments}.
