%% @private The program that speaks to S3-compatible storage, for one target that is open: `priv/warp_store', made of
%% `native/warp_store', whose `request.rs' and `answer.rs' have the forms of what is said here.
%%
%% The process ends with the one that has started it, and the program with this process: its standard input is closed
%% then. The keys to a bucket are in the environment, from where the program has them, and never come here.
-module(warp_backup_store).
-behaviour(gen_server).

-export([start/1, stop/1, ask/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-export_type([request/0, why/0]).

-type request() ::
    {create | replace, warp_backup_target:name(), binary()}
    | {read, warp_backup_target:name()}
    | {read, warp_backup_target:name(), Offset :: non_neg_integer(), Length :: pos_integer()}
    | {list, Prefix :: warp_backup_target:name()}
    | {delete, warp_backup_target:name()}.
%% `storage_refused': the storage was reached, and does not do it.
-type why() ::
    {unreachable, timeout | interrupted | Message :: binary()}
    | {storage_refused | no_store_program, Message :: binary()}
    | disk_full.
-type answer() ::
    {ok, binary() | [{Name :: binary(), Bytes :: non_neg_integer()}]} | exists | not_found | {error, why()}.

%% How long after the time of its request the program is killed, if it has not answered by itself.
-define(GRACE_MS, 2000).

-record(state, {
    %% None: it has ended.
    port :: port() | none,
    os_pid :: non_neg_integer() | none,
    timeout :: pos_integer(),
    owner :: reference(),
    %% Who waits for an answer, until when, and the parts of a list that have come.
    waiting = none :: none | {gen_server:from(), reference(), [binary()]}
}).

%% @doc Starts a program for the calling process, and has it open a bucket.
-spec start(warp_backup_s3:config()) -> {ok, pid()} | {error, why()}.
start(Config) ->
    case gen_server:start(?MODULE, {self(), Config}, []) of
        {ok, Pid} -> opened(Pid, request(Pid, {open, Config}));
        {error, {shutdown, Why}} -> {error, Why};
        {error, _} -> {error, {unreachable, interrupted}}
    end.

opened(Pid, {ok, _}) ->
    {ok, Pid};
opened(Pid, {error, _} = Error) ->
    ok = stop(Pid),
    Error.

%% @doc Ends the program.
-spec stop(pid()) -> ok.
stop(Pid) ->
    try gen_server:stop(Pid, normal, infinity) catch exit:_ -> ok end.

%% @doc Asks the storage. `interrupted': the program has ended.
-spec ask(pid(), request()) -> answer().
ask(Pid, Request) -> request(Pid, Request).

request(Pid, Request) ->
    case warp_call:call(Pid, Request, warp_deadline:from(infinity)) of
        {error, interrupted} -> {error, {unreachable, interrupted}};
        Answer -> Answer
    end.

-spec init({pid(), warp_backup_s3:config()}) -> {ok, #state{}} | {stop, {shutdown, why()}}.
init({Owner, #{timeout := Timeout}}) ->
    _ = process_flag(trap_exit, true),
    Program = filename:join(warp_nif:priv_dir(), "warp_store"),
    %% NOTE: without `exit_status', with which the end of a program is sometimes not told.
    try open_port({spawn_executable, Program}, [{packet, 4}, binary, use_stdio]) of
        Port ->
            OsPid = case erlang:port_info(Port, os_pid) of {os_pid, Id} -> Id; undefined -> none end,
            {ok, #state{port = Port, os_pid = OsPid, timeout = Timeout, owner = erlang:monitor(process, Owner)}}
    catch
        error:Why -> {stop, {shutdown, {no_store_program, missing(Program, Why)}}}
    end.

missing(Program, Why) ->
    Said = case Why of
        enoent -> "is missing";
        _ -> ["cannot be started (", file:format_error(Why), ")"]
    end,
    unicode:characters_to_binary(
        [Program, " ", Said, ", the program that speaks to S3: make store, or scripts/build-store, builds it"]).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(_Request, _From, #state{port = none} = State) ->
    {reply, {error, {unreachable, interrupted}}, State};
handle_call(Request, From, #state{port = Port, timeout = Timeout, waiting = none} = State) ->
    try port_command(Port, [<<Timeout:32>>, form(Request)], [nosuspend]) of
        true -> {noreply, State#state{waiting = {From, timer(State), []}}};
        false -> {reply, {error, {unreachable, interrupted}}, killed(State)}
    catch
        %% It has ended, and the message that says so has not come yet.
        error:badarg -> {reply, {error, {unreachable, interrupted}}, State#state{port = none}}
    end.

form({open, Config}) ->
    #{bucket := Bucket, prefix := Prefix, endpoint := Endpoint, region := Region, access_key_id := Id,
      secret_access_key := Secret, session_token := Token} = Config,
    {Needed, Name} = case Token of
        {required, Of} -> {1, Of};
        {optional, Of} -> {0, Of};
        none -> {0, <<>>}
    end,
    [0, [text(Text) || Text <- [Bucket, Prefix, Endpoint, Region, Id, Secret, Name]], Needed];
form({create, Name, Bytes}) -> [1, text(Name), Bytes];
form({replace, Name, Bytes}) -> [2, text(Name), Bytes];
form({read, Name}) -> [3, text(Name)];
form({read, Name, Offset, Length}) -> [4, text(Name), <<Offset:64, Length:32>>];
form({list, Prefix}) -> [5, text(Prefix)];
form({delete, Name}) -> [6, text(Name)].

text(Text) -> [<<(byte_size(Text)):16>>, Text].

timer(#state{timeout = Timeout}) -> erlang:start_timer(Timeout + ?GRACE_MS, self(), late).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({Port, {data, <<3, Part/binary>>}}, #state{port = Port, waiting = {From, Timer, Parts}} = State) ->
    _ = erlang:cancel_timer(Timer),
    {noreply, State#state{waiting = {From, timer(State), [Part | Parts]}}};
handle_info({Port, {data, Frame}}, #state{port = Port, waiting = {_, _, Parts}} = State) ->
    {noreply, answered(answer(Frame, Parts), State)};
handle_info({'EXIT', Port, _}, #state{port = Port} = State) ->
    {noreply, answered({error, {unreachable, interrupted}}, State#state{port = none})};
handle_info({timeout, Timer, late}, #state{waiting = {_, Timer, _}} = State) ->
    {noreply, answered({error, {unreachable, timeout}}, killed(State))};
handle_info({'DOWN', Owner, process, _, _}, #state{owner = Owner} = State) ->
    {stop, normal, State};
%% A timer of an earlier request; or a port that was closed.
handle_info({timeout, _, late}, State) ->
    {noreply, State};
handle_info({Port, _}, State) when is_port(Port) ->
    {noreply, State};
handle_info({'EXIT', _, _}, State) ->
    {noreply, State};
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

answer(<<0, Bytes/binary>>, []) -> {ok, Bytes};
answer(<<1>>, []) -> exists;
answer(<<2>>, []) -> not_found;
answer(<<4, Last/binary>>, Parts) -> {ok, lists:append([objects(Part) || Part <- lists:reverse(Parts, [Last])])};
answer(<<5, Why/binary>>, _) -> {error, {unreachable, Why}};
answer(<<6>>, _) -> {error, {unreachable, timeout}};
answer(<<7, Why/binary>>, _) -> {error, {storage_refused, Why}};
answer(<<8>>, _) -> {error, disk_full}.

objects(<<>>) -> [];
objects(<<Length:16, Name:Length/binary, Bytes:64, More/binary>>) -> [{binary:copy(Name), Bytes} | objects(More)].

answered(_Answer, #state{waiting = none} = State) ->
    State;
answered(Answer, #state{waiting = {From, Timer, _}} = State) ->
    _ = erlang:cancel_timer(Timer),
    ok = gen_server:reply(From, Answer),
    State#state{waiting = none}.

%% NOTE: one that was stopped does not see that its standard input is closed.
killed(#state{port = Port, os_pid = OsPid} = State) ->
    _ = [os:cmd("kill -KILL " ++ integer_to_list(OsPid)) || OsPid =/= none],
    ok = closed(Port),
    State#state{port = none}.

closed(none) -> ok;
closed(Port) ->
    try port_close(Port) of true -> ok catch error:badarg -> ok end.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{port = Port}) ->
    ok = closed(Port),
    warp_redact:empty_mailbox().

%% What is in a segment is in no report.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{port = Port, waiting = Waiting}} = Status) ->
    warp_redact:status(Status, #{port => Port, waiting => Waiting =/= none});
format_status(Status) ->
    warp_redact:status(Status, #{}).
