%% @private Answers requests to an entity's process.
-module(warp_entity_reply).

-export([reply/2, taken/1]).

-export_type([from/0, taken/0]).

-include_lib("kernel/include/logger.hrl").

%% Who gets the answer to a request. Nobody gets the answer to a cast, which names the entity instead.
-type from() :: gen_server:from() | {cast, EntityId :: binary()}.
%% The alias that is told that a cast was taken.
-type taken() :: reference().

%% @doc Tells the sender of a cast, which may be waiting, that the process has taken the cast.
-spec taken(taken()) -> ok.
taken(Taken) ->
    Taken ! {Taken, taken},
    ok.

%% @doc Answers a request, after sending the messages of its decision. A cast has nobody to answer to; when it was not
%% carried out, that is logged.
-spec reply(from(), term()) -> ok.
reply(From, {sending, Messages, Result}) ->
    ok = lists:foreach(fun({To, Message}) -> To ! Message end, Messages),
    reply(From, Result);
reply({cast, Id}, {error, Reason}) ->
    ?LOG_WARNING("Warp: a decision that was cast to entity ~ts was not carried out: ~ts. Its sender is not told.",
                 [Id, warp_redact:reason(Reason)]);
reply({cast, _Id}, _Stored) ->
    ok;
reply(From, Answer) ->
    gen_server:reply(From, Answer).
