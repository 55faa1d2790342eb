-- Charges that are given back by themselves unless they are settled in time (core: reserved.rs).
--
-- A state of which something is reserved bears its letter in small. Behind its marks stand the reservations in the order of
-- their ends, each: end · instance · last · cost; and, last of all, how many they are. So they live and die with their count,
-- and a charge where nothing is reserved looks at nothing more than without them.
--
-- Whoever meets such a state goes by it without them, once those that have ended were given back. What writes it then
-- leaves them out; `keep_reserved` puts them back.

local RESERVATION = 32

-- The letter of a state with reservations, the state without them, they themselves, and how many; nil where it is none.
local function split_reserved(state)
    local letter = upper(letter_of(state))
    local header = shortest[letter]
    local number = header and #state > header and unpack('<d', state, #state - 7) or 0
    local behind = #state - 8 - RESERVATION * number
    -- Anyone may write to a server.
    if not header or floor(number) ~= number or not (number >= 1 and behind >= header) then
        return nil
    end
    local plain = sub(state, 1, 7) .. letter .. sub(state, 9, behind)
    return letter, plain, sub(state, behind + 1, #state - 8), number
end

local function write_reserved(key, plain, reservations)
    if reservations ~= '' then
        plain = sub(plain, 1, 7) .. lower(letter_of(plain)) .. sub(plain, 9) .. reservations
            .. pack('<d', #reservations / RESERVATION)
    end
    call('SET', key, plain, 'KEEPTTL')
end

-- Gives back the first `due` reservations, each as at its own end. Answers the state then.
local function lapse(key, letter, plain, reservations, due)
    for at = 1, due do
        local finish, instance, last, cost = unpack('<dddd', reservations, RESERVATION * (at - 1) + 1)
        if refund_by[letter](key, plain, instance, last, cost, cost, finish) > 0 then
            local state = call('GET', key)
            if not state then
                -- That closed it.
                return '', ''
            end
            plain = letter == 'L' and sub(state, 1, ENTRIES + 1) or state
        end
    end
    reservations = sub(reservations, RESERVATION * due + 1)
    write_reserved(key, plain, reservations)
    return plain, reservations
end

function without_reservations(key, state, now)
    local letter, plain, reservations, number = split_reserved(state)
    if not letter then
        return ''
    end
    local due = 0
    while due < number and unpack('<d', reservations, RESERVATION * due + 1) <= now do
        due = due + 1
    end
    if due > 0 then
        if looks_only then
            return nil
        end
        plain, reservations = lapse(key, letter, plain, reservations, due)
    end
    if reservations ~= '' then
        reserved = reserved or {}
        reserved[key] = reservations
    end
    return plain
end

-- Those of windows that the state still tells of.
local function of_instances(state, reservations)
    local kept = {}
    local one, other = unpack('<dd', state, 9)
    if letter_of(state) ~= 'S' then
        other = one
    end
    for at = 1, #reservations, RESERVATION do
        local instance = unpack('<d', reservations, at + 8)
        if instance == one or instance == other then
            kept[#kept + 1] = sub(reservations, at, at + RESERVATION - 1)
        end
    end
    return concat(kept)
end

-- Puts the reservations back behind the states that were written in this call: behind all of them, or one.
function keep_reserved(only)
    for key, reservations in pairs(only and { [only] = reserved[only] } or reserved) do
        local state = call('GET', key)
        if state and not has_reservations(state) then
            local tail = reservations .. pack('<d', #reservations / RESERVATION)
            -- What was written in place has left them there.
            if sub(state, -#tail) == tail then
                state = sub(state, 1, -#tail - 1)
            end
            write_reserved(key, state, of_instances(state, reservations))
        end
    end
    if only then
        reserved[only] = nil
    else
        reserved = nil
    end
end

-- Whether what was charged just now may count still at a moment, so that there is something to give back then. Leases end by
-- themselves; a bucket may be charged on.
local function may_count_at(state, moment)
    local letter = letter_of(state)
    if letter == 'C' or letter == 'B' then
        return letter == 'B'
    elseif letter == 'S' then
        local start, window = unpack('<d', state, 25), unpack('<d', state, 73)
        return start + 2 * window > moment
    elseif letter == 'L' then
        return unpack('<d', state, 97) > moment
    end
    return unpack('<d', state, 25) > moment
end

-- Reserves what was charged last: it is given back at `finish`.
local function reserve_units(key, finish, instance, last, cost)
    local plain, reservations, number = call('GET', key), '', 0
    if has_reservations(plain) then
        local _
        _, plain, reservations, number = split_reserved(plain)
    end
    while number > 0 and unpack('<d', reservations, RESERVATION * (number - 1) + 1) > finish do
        number = number - 1
    end
    local before, behind = sub(reservations, 1, RESERVATION * number), sub(reservations, RESERVATION * number + 1)
    write_reserved(key, plain, before .. pack('<dddd', finish, instance, last, cost) .. behind)
end

-- Ends the reservation of a charge: what it took stands.
local function end_reservation(key, instance, last, cost)
    local state = own(key)
    if not state or not has_reservations(state) then
        return
    end
    local letter, plain, reservations = split_reserved(state)
    local units = pack('<ddd', instance, last, cost)
    for at = 1, letter and #reservations or 0, RESERVATION do
        if sub(reservations, at + 8, at + RESERVATION - 1) == units then
            write_reserved(key, plain, sub(reservations, 1, at - 1) .. sub(reservations, at + RESERVATION))
            return
        end
    end
end
