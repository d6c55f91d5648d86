%% @private Stores what `fold' was given, where the processes of entities find it.
-module(kuma_ffi).

-export([new_key/0, put_fold/2, fold/1, forget_fold/1, identity/1]).

-type key() :: {?MODULE, reference()}.

-spec new_key() -> key().
new_key() ->
    {?MODULE, make_ref()}.

-spec put_fold(key(), term()) -> nil.
put_fold(Key, Fold) ->
    persistent_term:put(Key, Fold),
    nil.

-spec fold(key()) -> term().
fold(Key) ->
    persistent_term:get(Key).

-spec forget_fold(key()) -> nil.
forget_fold(Key) ->
    _ = persistent_term:erase(Key),
    nil.

-spec identity(Term) -> Term.
identity(Term) ->
    Term.
