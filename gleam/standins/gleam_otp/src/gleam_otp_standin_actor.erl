%% The process of an actor of the stand-in of gleam_otp. The tuples are those of its Gleam types.
-module(gleam_otp_standin_actor).
-behaviour(gen_server).

-export([start/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-type initialise() :: fun(() -> {ok, {State :: term(), Selector :: term(), Return :: term()}} | {error, binary()}).

%% Starts without a link, and links when the actor is initialized: so a caller outlives an actor that cannot
%% be started.
-spec start(timeout(), initialise(), fun((term(), term()) -> tuple())) -> {ok, tuple()} | {error, term()}.
start(Timeout, Initialise, OnMessage) ->
    Tag = make_ref(),
    Parent = self(),
    Init = fun() ->
        case Initialise() of
            {ok, {State, Selector, Return}} ->
                Parent ! {Tag, Return},
                {ok, {State, Selector, OnMessage}};
            {error, Reason} ->
                {stop, {shutdown, {init_failed, Reason}}}
        end
    end,
    case gen_server:start(?MODULE, {Parent, Init}, [{timeout, Timeout}]) of
        {ok, Pid} -> receive {Tag, Return} -> {ok, {started, Pid, Return}} end;
        {error, {shutdown, {init_failed, Reason}}} -> {error, {init_failed, Reason}};
        {error, timeout} -> {error, init_timeout};
        {error, killed} -> {error, {init_exited, killed}};
        {error, normal} -> {error, {init_exited, normal}};
        {error, Reason} -> {error, {init_exited, {abnormal, Reason}}}
    end.

-spec init({pid(), fun(() -> Result)}) -> Result.
init({Parent, Init}) ->
    case Init() of
        {ok, _} = Initialised ->
            link(Parent),
            Initialised;
        Stop ->
            Stop
    end.

-spec handle_call(term(), term(), State) -> {noreply, State}.
handle_call(Message, From, State) ->
    handle_info({'$gen_call', From, Message}, State).

-spec handle_cast(term(), State) -> {noreply, State}.
handle_cast(Message, State) ->
    handle_info({'$gen_cast', Message}, State).

-spec handle_info(term(), State) -> {noreply, State} | {stop, term(), State}.
handle_info(Message, {State, Selector, OnMessage} = Actor) ->
    case gleam_erlang_standin:payload(Selector, Message) of
        {error, nil} ->
            logger:warning("Actor discarding unexpected message: ~tp", [Message]),
            {noreply, Actor};
        {ok, Payload} ->
            case OnMessage(State, Payload) of
                {continue, Next, none} -> {noreply, {Next, Selector, OnMessage}};
                {continue, Next, {some, Other}} -> {noreply, {Next, Other, OnMessage}};
                {stop, {abnormal, Reason}} -> {stop, Reason, Actor};
                {stop, Reason} -> {stop, Reason, Actor}
            end
    end.
