%% @private Answers to those who asked an entity's process for something.
-module(warp_entity_reply).

-export([reply/2, taken/1]).

-export_type([from/0, taken/0]).

-include_lib("kernel/include/logger.hrl").

%% Who gets the answer to a request: nobody, of a cast to that entity.
-type from() :: gen_server:from() | {cast, EntityId :: binary()}.
%% Where to tell that a cast was taken.
-type taken() :: reference().

%% @doc Tells the sender of a cast, should it wait, that it need not send it again.
-spec taken(taken()) -> ok.
taken(Taken) ->
    Taken ! {Taken, taken},
    ok.

%% @doc Answers a request. What became of a cast only the log of the system hears, and only when
%% it was not carried out.
-spec reply(from(), term()) -> ok.
reply(From, {sending, Messages, Result}) ->
    ok = lists:foreach(fun({To, Message}) -> To ! Message end, Messages),
    reply(From, Result);
reply({cast, Id}, {error, Reason}) ->
    ?LOG_WARNING("Warp: what was sent to entity ~ts was not carried out: ~ts",
                 [Id, warp_redact:reason(Reason)]);
reply({cast, _Id}, _Stored) ->
    ok;
reply(From, Answer) ->
    gen_server:reply(From, Answer).
