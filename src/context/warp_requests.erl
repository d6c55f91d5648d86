%% @private Requests that were sent to a process without a monitor, and whose callers do not wait yet. When that
%% process is killed, the process of this module answers them with `{error, interrupted}'.
%%
%% A monitor for each request would wake the process that is asked whenever an answer ends the monitor, and waking a
%% process costs more than anything else in an append. So each such process is monitored once in its life, from here,
%% and a request costs a row in a table.
-module(warp_requests).
-behaviour(gen_server).

-export([new_table/0, start_link/0]).
-export([number/0, watch/1, expect/2, forget/1, forget_all/1]).
-export([linked/1, is_linked/1, lost/1, expect_linked/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-record(state, {watched = #{} :: #{pid() => []}}).

%% How often the rows of callers that have died are removed.
-define(SWEEP_MS, 60000).

%% @doc The table of requests without an answer, which the calling process owns: {Alias, Pid, Caller}.
-spec new_table() -> ok.
new_table() ->
    ?MODULE = ets:new(?MODULE, [public, named_table, set, {write_concurrency, true}]),
    ok.

%% @doc Starts the process.
-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc A number that tells the running process from those before it. A process that was watched by another one has to
%% be watched again.
-spec number() -> pos_integer().
number() ->
    persistent_term:get(?MODULE, 1).

%% @doc Has a process watched from now on until it ends.
-spec watch(pid()) -> ok.
watch(Pid) ->
    gen_server:cast(?MODULE, {watch, Pid}).

%% @doc Notes that the calling process expects an answer from a process. `context_stopped' when the application is not
%% running.
%%
%% NOTE: the caller notes the request first, has the process watched, and looks then whether the process is alive. So
%% whoever notices the end of that process finds the request here, or the caller sees that the process has ended.
-spec expect(warp_call:alias(), pid()) -> ok | {error, context_stopped}.
expect(Alias, Pid) ->
    try ets:insert(?MODULE, {Alias, Pid, self()}) of
        true -> ok
    catch
        error:badarg -> {error, context_stopped}
    end.

%% @doc Forgets a request, since it was answered or given up.
-spec forget(warp_call:alias()) -> ok.
forget(Alias) ->
    try ets:delete(?MODULE, Alias) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% @doc Forgets the requests whose aliases are the keys of the map.
-spec forget_all(#{warp_call:alias() => term()}) -> ok.
forget_all(Requests) ->
    lists:foreach(fun forget/1, maps:keys(Requests)).

%% @doc Processes of another node can be reached: requests may be sent to them.
-spec linked([pid()]) -> ok.
linked(Pids) ->
    true = ets:insert(?MODULE, [{{linked, Pid}} || Pid <- Pids]),
    ok.

%% @doc Whether a process of another node can be reached.
-spec is_linked(pid()) -> boolean().
is_linked(Pid) ->
    try
        ets:member(?MODULE, {linked, Pid})
    catch
        error:badarg -> false
    end.

%% @doc Notes that the calling process expects an answer from a process of another node, under a new alias.
%% `node_unavailable': the process cannot be reached.
%%
%% NOTE: the request is noted before this looks. Who loses the link takes the note of it out first, and answers all
%% requests then.
-spec expect_linked(pid()) -> {ok, warp_call:alias()} | {error, {node_unavailable, node()} | context_stopped}.
expect_linked(Pid) ->
    Alias = warp_call:alias(),
    try ets:insert(?MODULE, {Alias, Pid, self()}) andalso ets:member(?MODULE, {linked, Pid}) of
        true ->
            {ok, Alias};
        false ->
            ok = forget(Alias),
            ok = warp_call:give_up(#{Alias => []}),
            {error, {node_unavailable, node(Pid)}}
    catch
        error:badarg ->
            _ = erlang:unalias(Alias),
            {error, context_stopped}
    end.

%% @doc Answers the requests that were sent to processes of another node, which cannot be reached any more: nobody knows
%% whether they were carried out.
-spec lost([pid()]) -> ok.
lost(Pids) ->
    _ = [true = ets:delete(?MODULE, {linked, Pid}) || Pid <- Pids],
    Lost = maps:from_keys(Pids, lost),
    answer_all(Lost, fun(Pid) -> {error, {unknown_outcome, node(Pid)}} end).

-spec init([]) -> {ok, #state{}}.
init([]) ->
    ok = persistent_term:put(?MODULE, erlang:unique_integer([positive])),
    _ = erlang:send_after(?SWEEP_MS, self(), sweep),
    %% NOTE: a caller that read the previous number asked the previous process, which may have been killed before it
    %% got that. Its row is here by then.
    Pids = lists:usort([Pid || {_Alias, Pid, _Caller} <- ets:tab2list(?MODULE)]),
    {ok, lists:foldl(fun monitored/2, #state{}, Pids)}.

monitored(Pid, #state{watched = Watched} = State) when is_map_key(Pid, Watched) ->
    State;
monitored(Pid, #state{watched = Watched} = State) ->
    _ = erlang:monitor(process, Pid),
    State#state{watched = Watched#{Pid => []}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, term()}, #state{}}.
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(requests, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({watch, Pid}, State) when is_pid(Pid), node(Pid) =:= node() ->
    {noreply, monitored(Pid, State)};
handle_cast(Stray, State) ->
    ok = warp_stray:note(requests, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', _Monitor, process, Pid, Reason}, #state{watched = Watched} = State) ->
    Ended = ended(#{Pid => Reason}),
    ok = interrupted(maps:filter(fun(_, Why) -> Why =/= normal end, Ended)),
    {noreply, State#state{watched = maps:without(maps:keys(Ended), Watched)}};
handle_info(sweep, State) ->
    _ = [forget(Alias) || {Alias, _Pid, Caller} <- ets:tab2list(?MODULE), not is_process_alive(Caller)],
    _ = erlang:send_after(?SWEEP_MS, self(), sweep),
    {noreply, State};
handle_info(Stray, State) ->
    ok = warp_stray:note(requests, message, Stray),
    {noreply, State}.

%% A context that stops ends many processes at once, and the table is searched once for all of them.
ended(Ended) ->
    receive
        {'DOWN', _Monitor, process, Pid, Reason} -> ended(Ended#{Pid => Reason})
    after 0 ->
        Ended
    end.

%% A process that ended by itself has answered all that it got, or their senders know.
interrupted(Killed) ->
    answer_all(Killed, fun(_Pid) -> {error, interrupted} end).

answer_all(Pids, _Answer) when map_size(Pids) =:= 0 ->
    ok;
answer_all(Pids, Answer) ->
    lists:foreach(
        fun({Alias, Pid, _Caller}) ->
            ok = warp_call:answer(Alias, Answer(Pid)),
            ok = forget(Alias)
        end,
        [Row || {_Alias, Pid, _Caller} = Row <- ets:tab2list(?MODULE), is_map_key(Pid, Pids)]).

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{watched = Watched}} = Status) ->
    warp_redact:status(Status, #{watched => map_size(Watched)});
format_status(Status) ->
    warp_redact:status(Status, #{}).
