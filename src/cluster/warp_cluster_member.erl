%% @private This node as a member of a cluster: joins, keeps in touch with the other members, and knows which node each
%% shard is on. This process alone writes `cluster.db', and says where shards are ({@link warp_context_owners}).
%%
%% Nodes tell each other who they are (`hello'), and are linked once both have heard that of each other. Over a link
%% come news of members and owners, and a sign of life each second. A node that is silent for longer than ?SILENT_MS is
%% taken for unreachable, before the VM's own ticks say so.
%%
%% It never waits for another node: it sends what can be sent now, and says it again later.
-module(warp_cluster_member).
-behaviour(gen_server).

-export([start_link/1, await_started/1, started/1, info/1, info/2, adopt/2, set_state/3]).
-export([records/1, put_record/3, mark/3, tell/3, server/3, other_members/1]).
-export([promise/3, promised/1, forgotten/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-export_type([info/0]).

-include_lib("kernel/include/logger.hrl").

-define(TICK_MS, 1000).
-define(SILENT_MS, 5000).
%% How long a first seed looks for a member among the other seeds before it creates the cluster.
-define(ALONE_MS, 3000).
%% How often a node that waits says so.
-define(SAY_MS, 10000).
%% How often a member's version is raised at most while it is one.
-define(LIFE, 10).

%% `joining': it looks for a cluster. `doubt': its folder may be an old copy, or a copy beside another one. `member'.
-type phase() :: joining | doubt | member.
-type link() :: #{
    pid := pid(),
    incarnation := pos_integer(),
    servers := tuple(),
    phase := phase(),
    heard := integer(),
    monitor := reference()
}.
-type info() :: #{
    phase := phase(),
    %% Why it is in doubt.
    why := none | term(),
    cluster := binary() | none,
    incarnation := pos_integer(),
    members := warp_cluster_view:members(),
    linked := [node()],
    %% The owner of each shard that it has heard of, with the epoch.
    owners := warp_cluster_view:owners(),
    %% That of the forgetting that it has said yes to last.
    generation := non_neg_integer()
}.

-record(state, {
    context :: warp_context:context(),
    store :: warp_cluster_store:store(),
    seeds :: [node()],
    bootstrap :: boolean(),
    self :: warp_cluster_store:self(),
    phase :: phase(),
    %% The random number of this start.
    start = warp_random:hex(16) :: binary(),
    %% The highest incarnation of this node that others have seen, and since when an operator takes the folder for the
    %% right one.
    seen = 0 :: non_neg_integer(),
    adopting_since = none :: none | integer(),
    %% Why it is in doubt, as a user is told.
    why = none :: none | term(),
    members = #{} :: warp_cluster_view:members(),
    %% What this node has recorded of shards that it has or had, and what it has heard of owners.
    records = #{} :: #{non_neg_integer() => warp_cluster_record:record()},
    owners = #{} :: warp_cluster_view:owners(),
    links = #{} :: #{node() => link()},
    %% Nodes that are being connected to.
    connecting = #{} :: #{pid() => node()},
    %% Seeds that are no members of a cluster, or cannot be reached; and when others were greeted first.
    without = [] :: [node()],
    greeted = #{} :: #{node() => integer()},
    %% Something that was said could not be written, and has to be said again.
    has_missed = false :: boolean(),
    since :: integer(),
    said = none :: none | integer(),
    %% The start is over: shards may come; and the process that moves them.
    is_started = false :: boolean(),
    mover = none :: none | pid(),
    %% An error that ends the start, and who waits for it.
    failed = none :: none | term(),
    waiting = [] :: [gen_server:from()]
}).

-spec start_link(warp_context:ref()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

%% @doc Waits until this node is a member, and its folder not in doubt; or gives the error of joining.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(Context) -> ask(Context, await_started).

%% @doc Notes that the start of the context is over.
-spec started(warp_context:context()) -> ok.
started(Context) ->
    _ = ask(Context, started),
    ok.

%% @doc What this node knows.
-spec info(warp_context:context()) -> info() | {error, interrupted}.
info(Context) -> ask(Context, info).

%% @doc The same, for a caller who waits until a deadline.
-spec info(warp_context:context(), warp_deadline:deadline()) -> info() | {error, interrupted | timeout}.
info(Context, Deadline) -> ask(Context, info, Deadline).

%% @doc Takes the folder for the right one, as an operator says.
-spec adopt(warp_context:context(), warp_deadline:deadline()) ->
    ok | {error, not_in_doubt | interrupted | timeout | term()}.
adopt(Context, Deadline) -> ask(Context, adopt, Deadline).

%% @doc Says, for all members, that this node leaves, or that it has left. `last_member': no other member takes part.
-spec set_state(warp_context:context(), leaving | left, warp_deadline:deadline()) ->
    ok | {error, last_member | interrupted | timeout | term()}.
set_state(Context, Is, Deadline) -> ask(Context, {set_state, Is}, Deadline).

%% @doc What this node has recorded of the shards that it has or had. Waits until it is a member whose folder is not in
%% doubt. From then on the calling process gets `{handoff, N, Node, Message}' with what other nodes say of hand-offs.
-spec records(warp_context:context()) ->
    {ok, #{non_neg_integer() => warp_cluster_record:record()}} | {error, interrupted | not_started}.
records(Context) -> ask(Context, records).

%% @doc Writes the record of a shard, on disk when this returns, and tells the other members if its owner changes. Does
%% not change whether requests for the shard are taken: see {@link mark/3}.
-spec put_record(warp_context:context(), non_neg_integer(), warp_cluster_record:record()) -> ok | {error, term()}.
put_record(Context, N, Record) -> ask(Context, {put_record, N, Record}).

%% @doc Sends what belongs to a hand-off to another node, if it can be sent now.
-spec tell(warp_context:context(), node(), {non_neg_integer(), warp_cluster_handoff:message()}) -> ok.
tell(Context, Node, Message) ->
    _ = [gen_server:cast(Pid, {tell, Node, Message}) || {ok, Pid} <- [warp_context:registered(Context, cluster)]],
    ok.

%% @doc What takes requests for a shard on a node, whether the node owns the shard or not.
-spec server(warp_context:context(), node(), non_neg_integer()) ->
    {ok, pid()} | {error, {node_unavailable, node()} | interrupted}.
server(Context, Node, N) -> ask(Context, {server, Node, N}).

%% @doc Lets requests for the shard begin: `serve', when this node owns it; lets them wait: `freeze'; or sends them
%% where the record says.
-spec mark(warp_context:context(), non_neg_integer(), serve | freeze | elsewhere) -> ok | {error, interrupted}.
mark(Context, N, How) -> ask(Context, {mark, N, How}).

%% @doc The other members that take part, whether they can be reached or not.
-spec other_members(warp_context:context()) -> {ok, [node()]} | {error, interrupted}.
other_members(#{cluster := single_node}) ->
    {ok, []};
other_members(Context) ->
    case info(Context) of
        #{members := Members} ->
            {ok, [Node || Node <- maps:keys(Members), Node =/= node(),
                          warp_cluster_view:is_taking_part(Node, Members)]};
        {error, _} = Error ->
            Error
    end.

%% @doc Says yes to the forgetting of these members, unless it has said yes to a later one: `{promised, Generation}'.
%% On disk when this returns; from then on nothing is heard of them. Gives what this node knows then.
-spec promise(warp_context:context(), warp_cluster_forget:ballot(), warp_cluster_view:members()) ->
    {ok, warp_cluster_forget:known()} | {error, {promised, non_neg_integer()} | term()}.
promise(Context, Ballot, Lost) -> ask(Context, {promise, Ballot, Lost}).

%% @doc The forgetting that this node has said yes to last.
-spec promised(warp_context:context()) -> warp_cluster_forget:ballot() | {error, interrupted}.
promised(Context) -> ask(Context, promised).

%% @doc These members are none any more, and their shards have other owners.
-spec forgotten(warp_context:context(), warp_cluster_view:members(), warp_deadline:deadline()) -> ok | {error, term()}.
forgotten(Context, Lost, Deadline) -> ask(Context, {forgotten, Lost}, Deadline).

ask(Context, Request) -> ask(Context, Request, infinity).

ask(Context, Request, Deadline) ->
    case warp_context:registered(Context, cluster) of
        {ok, Pid} -> warp_call:call(Pid, Request, Deadline);
        none -> {error, interrupted}
    end.

%% ------------------------------------------------------------------ Starting

-spec init(warp_context:ref()) -> {ok, #state{}} | {stop, term()}.
init(Ref) ->
    _ = process_flag(trap_exit, true),
    {ok, #{cluster := {clustered, #{seed_nodes := Seeds, bootstrap := Bootstrap}}} = Context} = warp_context:find(Ref),
    ok = net_kernel:monitor_nodes(true, [{node_type, all}]),
    case warp_cluster_store:open(Context) of
        {ok, Store} ->
            case warp_cluster_store:load(Store) of
                {ok, Loaded} ->
                    State = begun(Loaded, #state{context = Context, store = Store, seeds = Seeds,
                                                 bootstrap = Bootstrap, since = now_ms(), phase = joining,
                                                 self = unknown_self()}),
                    ok = warp_context:register(Context, cluster, self()),
                    self() ! tick,
                    {ok, State#state{is_started = warp_context:registered(Context, started) =/= none}};
                {error, Reason} ->
                    ok = warp_cluster_store:close(Store),
                    {ok, failed_at_once(Reason, Context, Store)}
            end;
        {error, Reason} ->
            {stop, {shutdown, {cluster_file, Reason}}}
    end.

failed_at_once(Reason, Context, Store) ->
    ok = warp_context:register(Context, cluster, self()),
    #state{context = Context, store = Store, seeds = [], bootstrap = false, since = now_ms(), phase = joining,
           self = unknown_self(), failed = Reason}.

unknown_self() ->
    #{cluster => none, member => warp_random:hex(16), incarnation => 1, node => node(), folder => <<>>,
      promised => {0, <<>>}}.

begun(#{self := none}, #state{context = Context} = State) ->
    save_self((unknown_self())#{folder => warp_cluster_folder:id(Context)}, State);
begun(#{self := #{node := Node}}, State) when Node =/= node() ->
    fail({folder_of_node, Node}, State);
%% NOTE: with an incarnation of its own, since a start that ended while it joined may be known to others.
begun(#{self := #{cluster := none, incarnation := Incarnation} = Self}, #state{context = Context} = State) ->
    save_self(Self#{folder := warp_cluster_folder:id(Context), incarnation := Incarnation + 1}, State);
%% A node that has left comes back as a new one.
begun(#{self := Self, members := Members} = Loaded, #state{context = Context} = State) ->
    case [Is || #{node := Node, state := Is} <- Members, Node =:= node()] of
        [left] ->
            %% NOTE: what follows from logs of the cluster has missed deletions since.
            ok = without_followers(Context),
            Folder = warp_cluster_folder:id(Context),
            save_self(Self#{cluster := none, member := warp_random:hex(16), folder := Folder}, State);
        _ -> member_again(Loaded, State)
    end.

without_followers(#{dir := Dir}) ->
    lists:foreach(fun(Prefix) -> ok = warp_nif:delete_files(Dir, Prefix) end,
                  [<<"projections.db">>, <<"subscriptions.db">>, <<"erasures.db">>]).

member_again(#{self := #{incarnation := Incarnation, folder := Was} = Self, members := Members, records := Records,
               owners := Owners},
             #state{context = Context} = State0) ->
    %% NOTE: the folder is marked, and noted, once it is not in doubt any more.
    IsOriginal = warp_cluster_folder:is_original(Context, Was),
    State1 = save_self(Self#{incarnation := Incarnation + 1}, State0),
    State = State1#state{members = maps:from_list([{Node, Member} || #{node := Node} = Member <- Members]),
                         records = Records, owners = Owners},
    case {is_forgotten(State), IsOriginal} of
        {true, _} -> doubt(forgotten, State);
        {false, true} -> serve(State);
        {false, false} -> doubt(copied, State)
    end.

save_self(Self, #state{store = Store} = State) ->
    case warp_cluster_store:set_self(Store, Self) of
        ok -> State#state{self = Self};
        {error, Reason} -> fail(Reason, State#state{self = Self})
    end.

fail(Reason, #state{waiting = Waiting} = State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, {error, Reason}) end, Waiting),
    State#state{failed = Reason, waiting = []}.

%% This node is a member, and its folder is the right one: requests for its shards may begin.
serve(#state{context = Context, start = Start, self = #{incarnation := Incarnation} = Self,
             members = Members} = State0) ->
    AsMember = maps:get(node(), Members),
    Noted = marked(save_self(Self#{folder := warp_cluster_folder:id(Context)}, State0)),
    State = yield(heard_of([AsMember#{incarnation := Incarnation, start := Start}], Noted)),
    Ready = place_all(State#state{phase = member, why = none}),
    Own = [{N, Epoch} || {N, #{held := {own, Epoch}}} <- maps:to_list(Ready#state.records)],
    ok = lists:foreach(fun({N, Epoch}) -> warp_context_owners:set(Context, N, Epoch, here) end, Own),
    %% While the context starts, it waits for its shards by itself.
    _ = [spawn(fun() -> warp_shards_sup:open_here(Context) end) || State#state.is_started],
    lists:foreach(fun(Node) -> say_hello(Node, Ready) end, maps:keys(Ready#state.links)),
    told_started(Ready).

%% NOTE: the folder is marked before it is that of a member. A crash in between leaves one without a cluster, and not
%% one that looks like a copy.
member_of(Cluster, State) ->
    #state{self = Self} = Marked = marked(State),
    save_self(Self#{cluster := Cluster}, Marked).

marked(#state{context = Context} = State) ->
    case warp_cluster_folder:mark(Context) of
        ok -> State;
        {error, Reason} -> fail(Reason, State)
    end.

%% What others own by now they keep: this node's folder is older than that.
yield(#state{owners = Owners, records = Records} = State) ->
    Yielded = [N || N <- warp_cluster_view:contradicted(node(), Records, Owners), is_map_key(N, Records)],
    %% NOTE: nothing is recorded then of whom it was given to, and so nobody is told of an attempt that it was not.
    case save_records(maps:from_keys(Yielded, warp_cluster_record:new(joiner)), State) of
        {ok, Next} -> Next;
        {error, Reason} -> fail(Reason, State)
    end.

told_started(#state{failed = none, phase = member, waiting = Waiting} = State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, Waiting),
    State#state{waiting = []};
told_started(State) ->
    State.

%% Nothing that this node has is served before an operator has said that its folder is the right one. The other members
%% cannot say it: the node whose folder was copied may run, and serve, where nobody reaches it.
doubt(Why, #state{context = #{name := Name} = Context, records = Records} = State) ->
    ?LOG_ERROR("Warp: context ~ts does not serve its shards: ~ts", [Name, in_words(Why)]),
    Own = [N || {N, #{held := {own, _}}} <- maps:to_list(Records)],
    Epoch = fun(N) -> warp_context_owners:epoch(Context, N) end,
    ok = lists:foreach(fun(N) -> warp_context_owners:set(Context, N, Epoch(N), unknown) end, Own),
    _ = [spawn(fun() -> warp_shards_sup:end_shard(Context, N) end) || N <- Own, State#state.phase =:= member],
    State#state{phase = doubt, why = Why}.

in_words(forgotten) -> warp_error:format_error(forgotten);
in_words(Why) -> warp_error:format_error({in_doubt, Why}).

%% ------------------------------------------------------------------ Where shards are

%% Says where a shard of another node is, as its owner and the links say.
place(N, #state{context = #{ref := Ref} = Context, links = Links} = State) ->
    case owner(N, State) of
        {Epoch, Node} when Node =/= node() ->
            Access =
                case Links of
                    #{Node := #{servers := Servers}} ->
                        {remote, element(1 + N rem tuple_size(Servers), Servers), Ref, N, Epoch};
                    #{} ->
                        {node_unavailable, Node}
                end,
            ok = warp_context:register(Context, {shard, N}, Access),
            ok = warp_context_owners:set(Context, N, Epoch, {at, Node}),
            %% Who follows the log looks again.
            ok = warp_follower:committed(Context, N);
        {Epoch, _Here} ->
            %% Requests for a shard of this node begin when its process has opened it. Where it was on another node,
            %% they wait from now on.
            case warp_context_owners:where(Context, N) of
                {at, _} -> warp_context_owners:set(Context, N, Epoch, unknown);
                _ -> ok
            end;
        none ->
            ok
    end,
    State.

owner(N, #state{records = Records, owners = Owners}) ->
    warp_cluster_view:owner(node(), maps:get(N, Records, none), maps:get(N, Owners, none)).

place_all(#state{context = #{shards := Shards}} = State) ->
    lists:foldl(fun place/2, State, lists:seq(0, Shards - 1)).

place_all_of(Node, #state{context = #{shards := Shards}} = State) ->
    lists:foldl(fun place/2, State, [N || N <- lists:seq(0, Shards - 1), {_, Of} <- [owner(N, State)], Of =:= Node]).

%% ------------------------------------------------------------------ Requests

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(await_started, _From, #state{failed = Reason} = State) when Reason =/= none ->
    {reply, {error, Reason}, State};
handle_call(await_started, _From, #state{phase = member} = State) ->
    {reply, ok, State};
handle_call(await_started, From, #state{waiting = Waiting} = State) ->
    {noreply, State#state{waiting = [From | Waiting]}};
handle_call(started, _From, #state{context = Context} = State) ->
    %% A successor of this process has to know.
    ok = warp_context:register(Context, started, true),
    {reply, ok, State#state{is_started = true}};
handle_call(info, _From, #state{phase = Phase, why = Why, self = Self, members = Members, links = Links} = State) ->
    #{cluster := Cluster, incarnation := Incarnation, promised := {Generation, _}} = Self,
    {reply, #{phase => Phase, why => Why, cluster => Cluster, incarnation => Incarnation, members => Members,
              linked => maps:keys(Links), owners => all_owners(State), generation => Generation}, State};
handle_call({set_state, Is}, _From, #state{members = Members} = State) ->
    #{node() := #{version := Version, state := Was} = Own} = Members,
    case warp_cluster_view:taking_part(Members) -- [node()] of
        [] when Is =:= leaving -> {reply, {error, last_member}, State};
        _ when Was =:= Is -> {reply, ok, State};
        _ ->
            Next = heard_of([Own#{state := Is, version := Version + 1}], State),
            case Next#state.members of
                #{node() := #{state := Is}} -> {reply, ok, Next};
                #{} -> {reply, {error, {io_error, <<"cluster.db could not be written">>}}, State}
            end
    end;
handle_call(records, {Pid, _}, #state{phase = member, is_started = true, records = Records} = State) ->
    {reply, {ok, Records}, State#state{mover = Pid}};
handle_call(records, _From, State) ->
    {reply, {error, not_started}, State};
handle_call({promise, {Generation, _} = Ballot, Lost}, _From, #state{phase = member, self = Self} = State) ->
    #{promised := {Promised, _} = Last} = Self,
    case Generation > Promised orelse Ballot =:= Last of
        true -> promised(Self#{promised := Ballot}, Lost, State);
        false -> {reply, {error, {promised, Promised}}, State}
    end;
handle_call({promise, _, _}, _From, State) ->
    {reply, {error, not_started}, State};
handle_call(promised, _From, #state{self = #{promised := Promised}} = State) ->
    {reply, Promised, State};
handle_call({forgotten, Lost}, _From, State) ->
    Next = in_state(forgotten, Lost, State),
    {reply, are_in_state(forgotten, Lost, Next), Next};
handle_call(adopt, _From, #state{phase = doubt, why = forgotten} = State) ->
    {reply, {error, forgotten}, State};
handle_call(adopt, From, #state{phase = doubt, waiting = Waiting} = State) ->
    {noreply, adopted((adopt_as_newest(State))#state{waiting = [From | Waiting]})};
handle_call(adopt, _From, State) ->
    {reply, {error, not_in_doubt}, State};
handle_call({put_record, N, Record}, _From, State) ->
    case save_records(#{N => Record}, State) of
        {ok, Next} -> {reply, ok, say_owner(N, Next)};
        {error, Reason} -> {reply, {error, Reason}, State}
    end;
handle_call({server, Node, N}, _From, #state{links = Links} = State) ->
    case Links of
        #{Node := #{servers := Servers}} -> {reply, {ok, element(1 + N rem tuple_size(Servers), Servers)}, State};
        #{} -> {reply, {error, {node_unavailable, Node}}, State}
    end;
handle_call({mark, N, How}, _From, State) ->
    ok =
        case How of
            %% NOTE: with the epoch that the shard has by now. The processes of a shard that has come here start before
            %% it is served, and some of them look at its epoch.
            freeze -> own(N, frozen, State);
            serve -> own(N, here, State);
            elsewhere -> #state{} = place(N, State), ok
        end,
    {reply, ok, State};
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

%% NOTE: what these nodes have said before is in the records by now.
promised(Self, Lost, #state{links = Links, store = Store} = State) ->
    case [Node || Node <- maps:keys(Lost), Node =:= node() orelse is_map_key(Node, Links)] of
        [] ->
            case warp_cluster_store:set_self(Store, Self) of
                ok ->
                    Next = in_state(forgetting, Lost, heard_of(maps:values(Lost), State#state{self = Self})),
                    case are_in_state(forgetting, Lost, Next) of
                        ok -> {reply, {ok, known(Next)}, Next};
                        {error, _} = Error -> {reply, Error, Next}
                    end;
                {error, _} = Error ->
                    {reply, Error, State}
            end;
        [Node | _] ->
            {reply, {error, {node_up, Node}}, State}
    end.

known(#state{members = Members, records = Records, self = #{promised := {Generation, _}}} = State) ->
    #{members => Members, owners => all_owners(State), records => Records, generation => Generation}.

%% What is further than that stays as it is, and so does a node that has joined as a new member by the same name.
in_state(Is, Lost, State) ->
    heard_of([Member#{state := Is, version := Version + 1}
              || #{version := Version} = Member <- not_in_state(Is, Lost, State)], State).

are_in_state(Is, Lost, State) ->
    case not_in_state(Is, Lost, State) of
        [] -> ok;
        [_ | _] -> {error, {io_error, <<"cluster.db could not be written">>}}
    end.

not_in_state(Is, Lost, #state{members = Members}) ->
    [Known || {Node, #{member := Member}} <- maps:to_list(Lost),
              #{Node := #{member := Same, state := Was} = Known} <- [Members],
              Same =:= Member, Was =/= Is, Was =/= forgotten].

own(N, Where, #state{context = Context} = State) ->
    {Epoch, Node} = owner(N, State),
    true = Node =:= node(),
    warp_context_owners:set(Context, N, Epoch, Where).

%% The folder becomes the newest that anyone has seen, so that the others link with it.
adopt_as_newest(#state{self = #{incarnation := Mine} = Self, seen = Seen} = State) ->
    Newest = save_self(Self#{incarnation := max(Mine, Seen + 1)}, State#state{adopting_since = now_ms()}),
    lists:foldl(fun greet/2, Newest, others(Newest)).

%% NOTE: what others own by now they keep, and so they are heard first, if they can be reached.
adopted(#state{phase = doubt, adopting_since = Since, links = Links} = State) when Since =/= none ->
    case others(State) -- maps:keys(Links) =:= [] orelse now_ms() - Since >= ?ALONE_MS of
        true -> serve(State#state{adopting_since = none});
        false -> State
    end;
adopted(State) ->
    State.

save_records(Records, #state{store = Store, records = Known} = State) ->
    case warp_cluster_store:put_records(Store, Records) of
        ok -> {ok, State#state{records = maps:merge(Known, Records)}};
        {error, _} = Error -> Error
    end.

say_owner(N, State) ->
    case owner(N, State) of
        none -> State;
        Owner -> broadcast({owners, #{N => Owner}}, State)
    end.

all_owners(#state{context = #{shards := Shards}} = State) ->
    maps:from_list([{N, Owner} || N <- lists:seq(0, Shards - 1), {_, _} = Owner <- [owner(N, State)]]).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({tell, Node, Message}, State) ->
    _ = send(Node, {handoff, Message}, State),
    {noreply, State};
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(tick, State) ->
    _ = erlang:send_after(?TICK_MS, self(), tick),
    {noreply, tick(State)};
handle_info({nodeup, Node, _}, State) ->
    {noreply, greet(Node, State)};
handle_info({nodedown, Node, _}, State) ->
    {noreply, unlinked(Node, State)};
handle_info({'DOWN', _, process, Pid, _}, #state{links = Links} = State) ->
    case [Node || {Node, #{pid := Of}} <- maps:to_list(Links), Of =:= Pid] of
        [Node] -> {noreply, unlinked(Node, State)};
        [] -> {noreply, State}
    end;
handle_info({'EXIT', Pid, _}, #state{connecting = Connecting} = State) when is_map_key(Pid, Connecting) ->
    {Node, Left} = maps:take(Pid, Connecting),
    Next = State#state{connecting = Left},
    case lists:member(Node, nodes(connected)) of
        true -> {noreply, greet(Node, Next)};
        false -> {noreply, without(Node, Next)}
    end;
handle_info({warp_cluster, Message}, #state{failed = none, context = #{shards := Shards}} = State) ->
    case warp_cluster_message:has_form(Message, Shards) of
        true ->
            {From, Said} = Message,
            {noreply, said(Said, From, State)};
        false ->
            ok = warp_stray:note(?MODULE, message, Message),
            {noreply, State}
    end;
handle_info({warp_cluster, _}, State) ->
    {noreply, State};
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{store = Store}) ->
    warp_cluster_store:close(Store).

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{phase = Phase, links = Links, members = Members}} = Status) ->
    warp_redact:status(Status, #{phase => Phase, members => map_size(Members), links => map_size(Links)});
format_status(Status) ->
    warp_redact:status(Status, #{}).

%% ------------------------------------------------------------------ Each second

tick(#state{failed = Failed} = State) when Failed =/= none ->
    State;
tick(State) ->
    say(bootstrap(adopted(connect(beat(ask_again(silent(State))))))).

%% A node that is greeted as by one that has no link with it says everything that it knows.
ask_again(#state{has_missed = true, links = Links} = State) ->
    Hello = {hello, (hello(State))#{is_linked => false}},
    _ = [send(Node, Hello, State) || Node <- maps:keys(Links)],
    State#state{has_missed = false};
ask_again(State) ->
    State.

beat(State) ->
    broadcast(beat, State).

silent(#state{links = Links} = State) ->
    Now = now_ms(),
    Silent = [Node || {Node, #{heard := Heard}} <- maps:to_list(Links), Now - Heard > ?SILENT_MS],
    lists:foldl(fun unlinked/2, State, Silent).

others(#state{seeds = Seeds, members = Members, self = #{cluster := Cluster}}) ->
    Wanted =
        case Cluster of
            none -> Seeds;
            _ -> [Node || Node <- maps:keys(Members), warp_cluster_view:is_taking_part(Node, Members)]
        end,
    lists:usort(Wanted) -- [node()].

%% Connecting can take seconds, and so other processes do it.
connect(#state{links = Links, connecting = Connecting} = State) ->
    Missing = others(State) -- maps:keys(Links),
    Known = nodes(connected),
    lists:foldl(
        fun(Node, Acc) ->
            case lists:member(Node, Known) of
                true ->
                    greet(Node, Acc);
                false ->
                    case lists:member(Node, maps:values(Connecting)) of
                        true ->
                            Acc;
                        false ->
                            Pid = spawn_link(fun() -> _ = net_kernel:connect_node(Node), ok end),
                            Acc#state{connecting = (Acc#state.connecting)#{Pid => Node}}
                    end
            end
        end,
        State, Missing).

greet(Node, #state{greeted = Greeted} = State) ->
    case lists:member(Node, others(State)) of
        true ->
            _ = say_hello(Node, State),
            State#state{greeted = maps:merge(#{Node => now_ms()}, Greeted)};
        false ->
            State
    end.

%% It says whether this node is linked with the other one. Each is linked only with one that is, in the end.
say_hello(Node, #state{links = Links} = State) ->
    send(Node, {hello, (hello(State))#{is_linked => is_map_key(Node, Links)}}, State).

hello(#state{context = #{shards := Shards} = Context, phase = Phase, members = Members,
             self = #{cluster := Cluster, promised := {Generation, _}}} = State) ->
    Servers = list_to_tuple(servers(Context)),
    IsEmpty = Cluster =:= none andalso warp_nif:exists(warp_shard:file(Context, 0)) =:= false,
    #{shards => Shards, phase => Phase, cluster => Cluster, is_empty => IsEmpty, servers => Servers,
      generation => Generation,
      members => maps:values(Members), owners => case Phase of member -> all_owners(State); _ -> #{} end}.

%% The supervisor has started them before this process, and they end with it.
servers(Context) ->
    {ok, Count} = warp_context:registered(Context, cluster_server_count),
    [element(2, {ok, _} = warp_context:registered(Context, {cluster_server_nth, Nth})) || Nth <- lists:seq(1, Count)].

send(Node, Said, #state{context = #{name := Name}, start = Start,
                        self = #{member := Member, incarnation := Incarnation}}) ->
    From = #{node => node(), pid => self(), member => Member, incarnation => Incarnation, start => Start},
    warp_node:send(Node, Name, {From, Said}).

broadcast(Said, #state{links = Links} = State) ->
    lists:foreach(fun(Node) -> send(Node, Said, State) end, maps:keys(Links)),
    State.

%% A cluster is created by the first seed alone, or by a node that was told so, when no other seed is a member of one.
bootstrap(#state{phase = joining, self = #{cluster := none}, seeds = Seeds, bootstrap = Bootstrap, without = Without,
                 greeted = Greeted, since = Since} = State) ->
    IsFirst = Bootstrap orelse hd(Seeds ++ [none]) =:= node(),
    Now = now_ms(),
    %% NOTE: a node that does not answer does not run the context.
    Silent = [Node || {Node, At} <- maps:to_list(Greeted), Now - At >= ?ALONE_MS],
    Others = lists:usort(Seeds) -- [node()],
    case IsFirst andalso (Others -- Without) -- Silent =:= [] andalso (Others =:= [] orelse Now - Since >= ?ALONE_MS) of
        true -> create(State);
        false -> State
    end;
bootstrap(State) ->
    State.

create(#state{context = #{shards := Shards, name := Name}, store = Store, start = Start,
              self = #{member := Member, incarnation := Incarnation}} = State) ->
    Own = #{node => node(), member => Member, incarnation => Incarnation, start => Start, state => up, version => 1},
    Records = maps:from_keys(lists:seq(0, Shards - 1), warp_cluster_record:new(creator)),
    %% NOTE: who this node is comes last. A crash before leaves a node without a cluster, which begins again.
    case {warp_cluster_store:put_members(Store, [Own]), warp_cluster_store:put_records(Store, Records)} of
        {ok, ok} ->
            ?LOG_NOTICE("Warp: this node has created the cluster of context ~ts", [Name]),
            Created = member_of(warp_random:hex(16), State),
            serve(Created#state{members = #{node() => Own}, records = Records});
        _ ->
            State
    end.

say(#state{phase = member} = State) ->
    State;
say(#state{said = Said, since = Since} = State) ->
    Now = now_ms(),
    case Now - max(Since, case Said of none -> Since; _ -> Said end) >= ?SAY_MS of
        true ->
            ok = say_why(State),
            State#state{said = Now};
        false ->
            State
    end.

say_why(#state{phase = joining, context = #{name := Name}, seeds = Seeds}) ->
    ?LOG_WARNING("Warp: context ~ts waits for a member of its cluster among its seed nodes, ~tp. Start one of them; or "
                 "start the first node of a new cluster with `bootstrap => true'.", [Name, Seeds]);
say_why(#state{phase = doubt, context = #{name := Name}, why = Why}) ->
    ?LOG_WARNING("Warp: context ~ts does not serve its shards: ~ts", [Name, in_words(Why)]).

%% ------------------------------------------------------------------ What others say

said({hello, #{cluster := none} = Hello}, #{node := Node} = From, #state{self = #{cluster := Cluster}} = State) ->
    case Cluster of
        none ->
            _ = send(Node, nobody, State),
            State;
        _ ->
            wants_to_join(Hello, From, State)
    end;
said({hello, #{cluster := Cluster} = Hello}, From, #state{self = #{cluster := none}} = State) ->
    joined(Cluster, Hello, From, State);
said({hello, #{cluster := Cluster}}, #{node := Node}, #state{self = #{cluster := Mine}} = State)
  when Cluster =/= Mine ->
    _ = send(Node, {refused, other_cluster}, State),
    State;
said({hello, Hello}, From, State) ->
    met(Hello, From, State);
said(nobody, #{node := Node}, State) ->
    without(Node, State);
said({refused, Why}, #{node := Node}, State) ->
    refused(Why, Node, State);
said(Said, #{node := Node, pid := Pid, incarnation := Incarnation}, #state{links = Links} = State) ->
    case Links of
        #{Node := #{pid := Pid, incarnation := Incarnation} = Link} ->
            linked_said(Said, Node, State#state{links = Links#{Node := Link#{heard := now_ms()}}});
        #{} ->
            State
    end.

linked_said(beat, _Node, State) -> State;
linked_said({members, Members}, _Node, State) -> heard_of(Members, State);
linked_said({owners, Owners}, _Node, State) -> heard_of_owners(Owners, State);
linked_said({handoff, {N, Message}}, Node, #state{mover = Mover} = State) ->
    _ = [Mover ! {handoff, N, Node, Message} || Mover =/= none],
    State;
linked_said(Stray, _Node, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    State.

without(Node, #state{without = Without} = State) ->
    State#state{without = lists:usort([Node | Without])}.

refused({old_incarnation, Incarnation}, _Node, #state{phase = Phase, seen = Seen} = State) ->
    Known = State#state{seen = max(Incarnation, Seen)},
    case Phase of
        doubt -> Known;
        _ -> doubt({old_incarnation, Incarnation}, Known)
    end;
refused(folder_not_empty, _Node, #state{phase = joining, context = #{dir := Dir}} = State) ->
    fail({folder_not_empty, Dir}, State);
refused(Why, Node, #state{phase = joining} = State) ->
    fail({cluster_refused, Node, Why}, State);
%% NOTE: noted, so that it does not serve either when it is started again.
refused(Why, _Node, #state{self = #{member := Mine}} = State) when Why =:= forgotten; Why =:= other_member ->
    case in_state(forgotten, #{node() => #{member => Mine}}, State) of
        #state{why = forgotten} = Noted -> Noted;
        NotNoted -> doubt(forgotten, NotNoted)
    end;
refused(Why, Node, #state{context = #{name := Name}, phase = member} = State) ->
    ?LOG_ERROR("Warp: node ~ts refuses this node in the cluster of context ~ts: ~tp", [Node, Name, Why]),
    State;
refused(_Why, _Node, State) ->
    State.

wants_to_join(#{shards := Theirs}, #{node := Node}, #state{context = #{shards := Mine}} = State) when Theirs =/= Mine ->
    _ = send(Node, {refused, {shard_count_mismatch, Mine, Theirs}}, State),
    State;
%% It would bring a context of a single node, or what is left of another cluster.
wants_to_join(#{is_empty := false}, #{node := Node}, State) ->
    _ = send(Node, {refused, folder_not_empty}, State),
    State;
wants_to_join(_Hello, _From, #state{phase = Phase} = State) when Phase =/= member ->
    State;
wants_to_join(_Hello, #{node := Node, member := Member, incarnation := Incarnation, start := Start},
              #state{members = Members} = State) ->
    Owned = [N || {N, {_, Of}} <- maps:to_list(all_owners(State)), Of =:= Node],
    case Members of
        #{Node := #{member := Other, state := Is}} when Other =/= Member, Owned =/= [], Is =/= forgotten ->
            _ = send(Node, {refused, {lost_folder, length(Owned)}}, State),
            State;
        #{} ->
            %% NOTE: the member of that name before it may have raised its version since this node heard of it, by
            %% leaving and having left, or when it was forgotten.
            Version = case Members of #{Node := #{version := V}} -> V + ?LIFE; #{} -> 1 end,
            Joined = heard_of([#{node => Node, member => Member, incarnation => Incarnation, start => Start,
                                 state => up, version => Version}], State),
            _ = say_hello(Node, Joined),
            Joined
    end.

%% A member has taken this node in.
joined(Cluster, #{members := Said, generation := Generation} = Hello, #{node := Node} = From,
       #state{self = #{member := Member, promised := {Promised, _}} = Self, context = #{name := Name}} = State) ->
    case [M || #{node := Of, member := Is} = M <- Said, Of =:= node(), Is =:= Member] of
        [_] ->
            ?LOG_NOTICE("Warp: this node has joined the cluster of context ~ts by node ~ts", [Name, Node]),
            Known = heard_of(Said, State),
            Knows = Known#state{self = Self#{promised := {max(Generation, Promised), <<>>}}},
            #state{failed = Failed} = Saved = member_of(Cluster, Knows),
            case Failed of
                none -> met(Hello, From, serve(Saved));
                _ -> Saved
            end;
        %% It is a member, and has not taken this node in yet.
        [] ->
            _ = say_hello(Node, State),
            State
    end.

%% A node of this cluster says who it is.
met(#{members := Said, owners := Owners, phase := Phase, servers := Servers, is_linked := IsLinked},
    #{node := Node, pid := Pid, member := Member, incarnation := Incarnation, start := Start},
    #state{members = Members, links = Links} = State) ->
    %% It may have joined again, and this node not have heard of that.
    {Newest, _} = warp_cluster_view:members(maps:with([Node], Members),
                                            [Of || #{node := Who} = Of <- Said, Who =:= Node]),
    case {Newest, Links} of
        {#{Node := #{state := Is, member := Member}}, _} when Is =:= forgetting; Is =:= forgotten ->
            _ = send(Node, {refused, forgotten}, State),
            State;
        {#{Node := #{member := Other}}, _} when Other =/= Member ->
            _ = send(Node, {refused, other_member}, State),
            State;
        {#{Node := #{incarnation := Seen, start := Other}}, _}
          when Incarnation < Seen; Incarnation =:= Seen, Start =/= Other ->
            _ = send(Node, {refused, {old_incarnation, Seen}}, State),
            State;
        %% NOTE: a node in doubt is heard of nothing, and takes no requests in the place of the node whose folder it may
        %% have a copy of: that one may come back, and would not know what was said to the other one.
        {_, _} when Phase =:= doubt ->
            _ = [say_hello(Node, State) || State#state.phase =:= member],
            State;
        {_, #{Node := #{pid := Pid, phase := Phase, servers := Servers}}} ->
            %% It has lost the link, as when this node stood still, and this node has not. In doubt it never has one.
            _ = [say_hello(Node, State) || not IsLinked, State#state.phase =:= member],
            heard_of_owners(Owners, heard_of(Said, heard(Node, State)));
        _ ->
            case heard_of(Said, State) of
                #state{members = #{Node := Of}} = Known ->
                    Seen = heard_of([Of#{incarnation := Incarnation, start := Start}], Known),
                    Linked = linked(Node, #{pid => Pid, incarnation => Incarnation, servers => Servers, phase => Phase,
                                            heard => now_ms(), monitor => erlang:monitor(process, Pid)}, Seen),
                    _ = say_hello(Node, Linked),
                    heard_of_owners(Owners, Linked);
                %% It is new, and that could not be written. It says so again.
                Unknown ->
                    Unknown
            end
    end.

heard(Node, #state{links = Links} = State) ->
    #{Node := Link} = Links,
    State#state{links = Links#{Node := Link#{heard := now_ms()}}}.

linked(Node, #{servers := Servers} = Link, State0) ->
    #state{links = Links} = State = unlinked(Node, State0),
    ok = warp_requests:linked(tuple_to_list(Servers)),
    place_all_of(Node, State#state{links = Links#{Node => Link}}).

unlinked(Node, #state{links = Links} = State) ->
    case maps:take(Node, Links) of
        {#{monitor := Monitor, servers := Servers}, Left} ->
            true = erlang:demonitor(Monitor, [flush]),
            Placed = place_all_of(Node, State#state{links = Left}),
            %% NOTE: only now. Who asks later finds that the node is unreachable, and who has asked before is in the
            %% table.
            ok = warp_requests:lost(tuple_to_list(Servers)),
            Placed;
        error ->
            State
    end.

heard_of(Said, #state{members = Members, store = Store} = State) ->
    case warp_cluster_view:members(Members, Said) of
        {_, []} ->
            State;
        {Next, New} ->
            case warp_cluster_store:put_members(Store, New) of
                ok -> noticed(broadcast({members, New}, State#state{members = Next}));
                {error, _} -> State#state{has_missed = true}
            end
    end.

noticed(#state{phase = Phase, why = Why} = State) when Phase =:= joining; Why =:= forgotten ->
    State;
noticed(State) ->
    case is_forgotten(State) of
        true -> doubt(forgotten, State);
        false -> State
    end.

%% Also where another member has this node's name: this one has left, or was forgotten, and the node has joined again in
%% another folder.
is_forgotten(#state{members = Members, self = #{member := Mine}}) ->
    case Members of
        #{node() := #{member := Mine, state := Is}} -> Is =:= forgetting orelse Is =:= forgotten;
        #{node() := _} -> true;
        #{} -> false
    end.

heard_of_owners(Said, #state{owners = Owners, records = Records, store = Store, phase = Phase} = State) ->
    {Known, New} = warp_cluster_view:owners(Owners, Said),
    case map_size(New) =:= 0 orelse warp_cluster_store:put_owners(Store, New) of
        {error, _} ->
            State#state{has_missed = true};
        _ ->
            Next = lists:foldl(fun place/2, State#state{owners = Known}, maps:keys(New)),
            case warp_cluster_view:contradicted(node(), Records, New) of
                [_ | _] = Ns when Phase =:= member -> doubt({other_owner, Ns}, Next);
                _ -> Next
            end
    end.

now_ms() -> erlang:monotonic_time(millisecond).
