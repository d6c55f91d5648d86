%% A subscriber whose functions a test gives, as a map of funs; and ones that fail as they are told to.
-module(warp_test_subscriber).
-behaviour(warp_subscriber).

-export([init/2, handle_event/2, handle_caught_up/1, handle_erased/2]).
-export([new/2, new/3, reporting/1]).

new(Name, Funs) -> new(Name, Funs, #{}).

new(Name, Funs, Options) -> warp_subscriber:new(Name, ?MODULE, Funs, maps:merge(#{from => beginning}, Options)).

%% Sends each thing that it is called with to a process.
reporting(Pid) ->
    #{event => fun(Event) -> Pid ! {event, Event}, ok end,
      caught_up => fun() -> Pid ! caught_up, ok end,
      erased => fun(Id) -> Pid ! {erased, Id}, ok end}.

init(Ctx, #{init := Init} = Funs) ->
    case Init(Ctx) of
        ok -> {ok, Funs};
        Error -> Error
    end;
init(_Ctx, Funs) ->
    {ok, Funs}.

handle_event(Event, #{event := Fun} = Funs) -> answer(Fun(Event), Funs).

handle_caught_up(#{caught_up := Fun} = Funs) -> answer(Fun(), Funs);
handle_caught_up(Funs) -> {ok, Funs}.

handle_erased(Id, #{erased := Fun} = Funs) -> answer(Fun(Id), Funs);
handle_erased(_Id, Funs) -> {ok, Funs}.

answer(ok, Funs) -> {ok, Funs};
answer(Other, _Funs) -> Other.
