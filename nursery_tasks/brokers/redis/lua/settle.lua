-- ARGV: now, kinds, delays, then for each settlement the token and a body (progress, outcome, failure, the name under which it
-- is parked, or nothing), then for each reply the place of its settlement, its list and its body; for each outgoing message the
-- same, with the place below 0.
-- kinds: a letter for each: S started, P progressed, U unresponsive, 4 to 8 finished in this state, R retried, r retried
-- without a failure to show, L released. delays: msgpack, place in the batch -> seconds, where it is not 0.
-- Returns 1 or 0 for each; 2: it is stored, and its reply is not.

-- include sending.lua
-- End a job that would come back, and whose start was its last.
local function bury(job)
    finish_ours(job, job.s[CANCEL] and CANCELLED or DEAD)
end

local LEASE, ENDED = P .. 'lease', P .. 'ended'
local kinds, delays, answers, given_back, ended = ARGV[2], decode(ARGV[3]), {}, {}, {}

-- Say with a hint what the outcome of a job is, while there is little to say: whoever waits for it need not ask.
local told_bytes = 0
local function tell_outcome(id, state, body)
    told_bytes = told_bytes + #body
    if told_bytes > TOLD_BYTES then
        hint('outcome', id)
    else
        hint('outcome', id, { id, state, body })
    end
end

-- Nearly all that is settled are jobs that end, and for none of which anything else is to be done. Those of one claim are in the
-- same state, so what becomes of it is found out once.
local endings = {} -- the kind -> the packed state -> what is the same for all of these
for kind = SUCCEEDED, DEAD do
    endings[tostring(kind)] = {}
end

local function ending_of(kind, packed)
    local s, state = decode(packed), tonumber(kind)
    local ending = { random = s[TOKEN], before = s[STATE], state = state, scores = {} }
    if s[OWNER] then
        ending.random = false
    end
    s[ATTEMPTS] = s[ATTEMPTS] + (s[STATE] == CLAIMED and 1 or 0)
    s[STATE], s[TOKEN], s[UNRESPONSIVE], s[ENDED_AT] = state, false, false, now
    ending.after = encode(s)
    return ending
end

local function end_plainly(job, random, kind, body)
    local ending, m = endings[kind][job.packed], meta(job)
    if not ending then
        ending = ending_of(kind, job.packed)
        endings[kind][job.packed] = ending
    end
    if ending.random ~= random or m[LIMITS] or m[KEY] then
        return false
    end
    local score = ending.scores[m[KEEP]]
    if not score then
        score = string.format('%.17g', now + kept_for(m, ending.state))
        ending.scores[m[KEEP]] = score
    end
    local key, tail = page_of(job.n)
    later(set, key, 's' .. tail, ending.after)
    later(set, key, 'o' .. tail, body)
    later(rem, LEASE, job.n)
    later(add, ENDED, score, job.n)
    count(ending.before, m[QUEUE], -1)
    count(ending.state, m[QUEUE], 1)
    tell_outcome(job.id, ending.state, body)
    jobs[job.n] = false -- what else is said of it comes too late
    return true
end

local numbers = {}
for i = 1, #kinds do
    numbers[i] = cut(ARGV[2 + 2 * i], 17)
end
fetch(numbers)

local last = 3 + 2 * #kinds
for i = last + 1, #ARGV, 3 do
    if tonumber(ARGV[i]) < 0 and not is_line(ARGV[i + 1]) then
        return not_a_line(ARGV[i + 1])
    end
end
for i = 1, #kinds do
    local token, body, kind = ARGV[2 + 2 * i], ARGV[3 + 2 * i], cut(kinds, i, i)
    local job = jobs[numbers[i]]
    if job and not job.s and endings[kind] and end_plainly(job, cut(token, 1, 16), kind, body) then
        answers[i] = 1
        given_back[#given_back + 1] = token
        ended[#ended + 1] = job
    elseif not job or token_of(load(job.n)) ~= token then
        answers[i] = 0
    else
        answers[i] = 1
        local s = job.s
        if kind == 'P' then
            local key, tail = page_of(job.n)
            later(set, key, 'g' .. tail, body)
            hint('change', id_of(job))
        elseif kind == 'U' then
            change(job)[UNRESPONSIVE] = true
            hint('outcome', id_of(job))
        elseif kind == 'S' then
            if s[STATE] == CLAIMED then
                change(job)
                s[STATE], s[ATTEMPTS], s[BEGUN] = STARTED, s[ATTEMPTS] + 1, now
                hint('change', id_of(job))
            end
        else
            change(job)
            given_back[#given_back + 1] = token
            local once = meta(job)[ONCE]
            if kind == 'L' and once and s[STATE] == STARTED then
                bury(job)
            elseif kind == 'L' then
                s[ATTEMPTS] = s[ATTEMPTS] - (s[STATE] == STARTED and 1 or 0)
                give_back(job, delays[i] or 0, body ~= '' and body)
            else
                s[ATTEMPTS] = s[ATTEMPTS] + (s[STATE] == CLAIMED and 1 or 0)
                job.outcome = kind ~= 'r' and body -- false: there is none any more
                if (kind == 'R' or kind == 'r') and once then
                    bury(job)
                elseif kind == 'R' or kind == 'r' then
                    give_back(job, delays[i] or 0)
                else
                    tell_outcome(id_of(job), tonumber(kind), body)
                    finish(job, tonumber(kind))
                    ended[#ended + 1] = job
                end
            end
        end
    end
end
flush()
for i = last + 1, #ARGV, 3 do
    local place = tonumber(ARGV[i])
    if place < 0 and answers[-place] > 0 then
        put_outgoing(ARGV[i + 1], ARGV[i + 2])
    elseif answers[place] == 1 then
        local key = P .. 'out:' .. ARGV[i + 1]
        local kept = redis.pcall('RPUSH', key, ARGV[i + 2]) -- not `call`: somebody may have made another thing of this key
        if type(kept) == 'number' then
            if kept > REPLIES_KEPT then
                call('LTRIM', key, -REPLIES_KEPT, -1)
            end
            call('EXPIRE', key, REPLY_SECONDS)
        else
            answers[place] = 2
        end
    end
end
if #given_back > 0 and call('EXISTS', P .. 'parents') == 1 then
    for _, token in ipairs(given_back) do
        end_owner(token, OWNER_ENDED)
    end
    for _, job in ipairs(ended) do
        local owner = 'job:' .. id_of(job)
        if call('HEXISTS', P .. 'parents', owner) == 1 then
            end_owner(owner, OWNER_ENDED)
        end
    end
end
return told(answers)
