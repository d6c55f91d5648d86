%% @private Takes what other nodes send to the clustered contexts of this VM, and hands it to the process of the context
%% that it is for. The process of a context has another pid on each start, and this one has a name.
-module(warp_node).
-behaviour(gen_server).

-export([start_link/0, send/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

%% @doc Starts the process.
-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Sends a message to the context of that name on another node, which gets `{warp_cluster, Message}'. Connects to
%% no node, and waits for none: `false' when the message could not be sent now.
-spec send(node(), Name :: binary(), Message :: term()) -> boolean().
send(Node, Name, Message) ->
    erlang:send({?MODULE, Node}, {warp_cluster, Name, Message}, [noconnect, nosuspend]) =:= ok.

-spec init([]) -> {ok, []}.
init([]) ->
    {ok, []}.

-spec handle_call(term(), gen_server:from(), []) -> {reply, {error, term()}, []}.
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), []) -> {noreply, []}.
handle_info({warp_cluster, Name, Message}, State) ->
    case warp_context:find({clustered, Name}) of
        {ok, Context} ->
            _ = [Pid ! {warp_cluster, Message} || {ok, Pid} <- [warp_context:registered(Context, cluster)]],
            {noreply, State};
        %% The node that sent it asks again until the context is started here.
        not_found ->
            {noreply, State}
    end;
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    warp_redact:status(Status, #{}).
